package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// asStored is an object as API servers store it.
func asStored(t testing.TB, o runtime.Object, kind string) []byte {
	t.Helper()
	o.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	var out bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(o, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func storedSecret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string][]byte{"password": []byte(value), "username": []byte("somebody")}}
}

func TestStored(t *testing.T) {
	large := strings.Repeat("large", 200<<10)
	configuration := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ConfigMapName}, Data: map[string]string{ConfigMapKey: "kind: Cluster\n"}}
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string]string{ConfigMapKey: "no"}}
	torn := asStored(t, storedSecret("torn", "never"), "Secret")
	files := bytes.Join([][]byte{
		[]byte("bolt"), asStored(t, storedSecret("a", "first-value"), "Secret"), make([]byte, storedWindow-150),
		asStored(t, storedSecret("b", "over-the-end"), "Secret"), asStored(t, storedSecret("c", large), "Secret"), storedMagic,
		asStored(t, other, "ConfigMap"), asStored(t, configuration, "ConfigMap"), make([]byte, 3*storedWindow),
		asStored(t, storedSecret("d", "after-nothing"), "Secret"), torn[:len(torn)-9],
	}, nil)
	var secrets, configs []string
	err := Stored(iotest.HalfReader(bytes.NewReader(files)), func(v string) { secrets = append(secrets, v) }, func(d []byte) { configs = append(configs, string(d)) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first-value", "over-the-end", large, "after-nothing"}, secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%.500s", diff)
	}
	if diff := cmp.Diff([]string{"kind: Cluster\n"}, configs); diff != "" {
		t.Errorf("configurations (-want +got):\n%s", diff)
	}
	broken := errors.New("broken")
	if err := Stored(iotest.ErrReader(broken), nil, nil); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// FuzzStored: whatever the files of etcd hold, reading them ends, and nothing is
// told that is not in them.
func FuzzStored(f *testing.F) {
	f.Add(asStored(f, storedSecret("a", "first-value"), "Secret"))
	f.Add([]byte("k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"))
	f.Fuzz(func(t *testing.T, files []byte) {
		within := func(value []byte) {
			if !bytes.Contains(files, value) {
				text, _ := json.Marshal(string(value))
				t.Fatalf("%s is nowhere", text)
			}
		}
		if err := Stored(bytes.NewReader(files), func(v string) { within([]byte(v)) }, within); err != nil {
			t.Fatal(err)
		}
	})
}
