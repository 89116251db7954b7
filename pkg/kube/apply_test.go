package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestDecode(t *testing.T) {
	tests := map[string]struct {
		manifest string
		want     []string // kind/namespace/name
		err      string
	}{
		"empty":               {"", nil, ""},
		"comments only":       {"# nothing\n---\n# here\n", nil, ""},
		"one":                 {"kind: Namespace\nmetadata: {name: a}\n", []string{"Namespace//a"}, ""},
		"in order":            {"---\nkind: B\nmetadata: {name: b, namespace: x}\n---\n\n---\nkind: A\nmetadata: {name: a}\n", []string{"B/x/b", "A//a"}, ""},
		"JSON":                {`{"kind":"A","metadata":{"name":"a"}}`, []string{"A//a"}, ""},
		"a list":              {"kind: List\napiVersion: v1\nitems:\n- {kind: A, apiVersion: v1, metadata: {name: a}}\n- {kind: B, apiVersion: v1, metadata: {name: b}}\n", []string{"A//a", "B//b"}, ""},
		"an empty list":       {"kind: List\napiVersion: v1\nitems: []\n", nil, ""},
		"without a name":      {"kind: A\nmetadata: {name: a}\n---\nkind: B\n", nil, "object 2 has no kind or no name"},
		"without a kind":      {"metadata: {name: a}\n", nil, "object 1"},
		"text":                {"just words\n", nil, "read manifest"},
		"an open bracket":     {"kind: [\n", nil, "read manifest"},
		"an HTML error page":  {"<html><body>404</body></html>", nil, "read manifest"},
		"an object as a list": {"- kind: A\n", nil, "read manifest"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := Decode([]byte(test.manifest))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects {
				got = append(got, o.GetKind()+"/"+o.GetNamespace()+"/"+o.GetName())
			}
			diff(t, test.want, got)
		})
	}
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

const workload = `apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
spec:
  template:
    spec:
      containers:
      - name: first
        env:
        - name: KEPT
          value: here
        - name: REPLACED
          value: old
      - name: second
`

func TestSetEnv(t *testing.T) {
	objects, err := Decode([]byte(workload + "---\nkind: ConfigMap\nmetadata:\n  name: other\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := SetEnv(objects, "DaemonSet", map[string]string{"REPLACED": "new", "ADDED": "1", "EMPTY": ""})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, `---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
spec:
  template:
    spec:
      containers:
      - env:
        - name: KEPT
          value: here
        - name: ADDED
          value: "1"
        - name: EMPTY
          value: ""
        - name: REPLACED
          value: new
        name: first
      - name: second
---
kind: ConfigMap
metadata:
  name: other
`, string(got))
}

func TestSetEnvErrors(t *testing.T) {
	for name, test := range map[string]struct{ spec, want string }{
		"no containers":       {"{}", "DaemonSet agent: it has no containers"},
		"an empty list":       {"{template: {spec: {containers: []}}}", "it has no containers"},
		"containers of text":  {"{template: {spec: {containers: [a]}}}", "its first container is a string"},
		"no list":             {"{template: {spec: {containers: a}}}", "containers"},
		"environment of text": {"{template: {spec: {containers: [{env: a}]}}}", "env"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := Decode([]byte("kind: DaemonSet\nmetadata: {name: agent}\nspec: " + test.spec))
			if err != nil {
				t.Fatal(err)
			}
			_, err = SetEnv(objects, "DaemonSet", map[string]string{"A": "b"})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "%!") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// failures are errors of a server or of the way to it.
func failures() map[string]struct {
	err                 error
	transient, waitable bool
} {
	gr := schema.GroupResource{Resource: "pods"}
	refused := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	return map[string]struct {
		err                 error
		transient, waitable bool
	}{
		"connection refused":    {refused, true, true},
		"wrapped":               {fmt.Errorf("apply: %w", refused), true, true},
		"connection dropped":    {io.ErrUnexpectedEOF, true, true},
		"one attempt timed out": {context.DeadlineExceeded, true, true},
		"wrong certificate": {&url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}},
			false, false},
		"no such kind yet":      {&meta.NoKindMatchError{}, false, true},
		"no such namespace yet": {apierrors.NewNotFound(gr, "x"), false, true},
		"starting":              {apierrors.NewServiceUnavailable("x"), false, true},
		"overloaded":            {apierrors.NewTooManyRequests("x", 1), false, true},
		"its own timeout":       {apierrors.NewServerTimeout(gr, "create", 1), false, true},
		"internal":              {apierrors.NewInternalError(errors.New("webhook")), false, true},
		"roles not there yet":   {apierrors.NewForbidden(gr, "x", errors.New("no")), false, true},
		"invalid":               {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "x", nil), false, false},
		"bad request":           {apierrors.NewBadRequest("x"), false, false},
		"unauthorized":          {apierrors.NewUnauthorized("x"), false, false},
		"anything else":         {errors.New("x"), false, false},
	}
}

func TestTransientAndWaitable(t *testing.T) {
	for name, test := range failures() {
		if got := Transient(test.err); got != test.transient {
			t.Errorf("%s: transient %v, want %v", name, got, test.transient)
		}
		if got := waitable(test.err); got != test.waitable {
			t.Errorf("%s: waitable %v, want %v", name, got, test.waitable)
		}
	}
}

// applying is a client whose server answers each apply with the next error.
func applying(answers ...error) (*Client, *[]string) {
	dynamic := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	var applied []string
	dynamic.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		applied = append(applied, strings.Join([]string{patch.GetResource().Resource, patch.GetNamespace(), patch.GetName()}, "/"))
		if n := len(applied) - 1; n < len(answers) && answers[n] != nil {
			return true, nil, answers[n]
		}
		return true, &unstructured.Unstructured{Object: map[string]any{}}, nil
	})
	return &Client{dynamic: dynamic}, &applied
}

const twoObjects = `apiVersion: v1
kind: Namespace
metadata: {name: local}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: b, namespace: local}
`

func TestApplyInOrder(t *testing.T) {
	c, applied := applying()
	if err := c.Apply(t.Context(), []byte(twoObjects)); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{"namespaces//local", "configmaps/default/a", "serviceaccounts/local/b"}, *applied)
}

func TestApplyTriesAgain(t *testing.T) {
	c, applied := applying(io.EOF, apierrors.NewServiceUnavailable("starting"), nil)
	if err := c.Apply(t.Context(), []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")); err != nil {
		t.Fatal(err)
	}
	if len(*applied) != 3 {
		t.Errorf("applied %d times, want 3", len(*applied))
	}
}

func TestApplyStopsWhenRefused(t *testing.T) {
	c, applied := applying(nil, apierrors.NewBadRequest("no such field"))
	err := c.Apply(t.Context(), []byte(twoObjects))
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "apply ConfigMap a: ") {
		t.Errorf("got %v, want the refusal and the object", err)
	}
	if len(*applied) != 2 {
		t.Errorf("went on after a refusal: %q", *applied)
	}
}

func TestApplyEndsWithTheLastAnswer(t *testing.T) {
	answers := make([]error, 100)
	for i := range answers {
		answers[i] = apierrors.NewServiceUnavailable("starting up")
	}
	c, _ := applying(answers...)
	cause := errors.New("it took too long")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*retryInterval, cause)
	defer cancel()
	err := c.Apply(ctx, []byte(twoObjects))
	if !errors.Is(err, cause) || strings.Count(err.Error(), "starting up") != 1 {
		t.Errorf("got %v, want the cause, and the last answer once", err)
	}
	if err := c.Apply(t.Context(), []byte("words")); err == nil {
		t.Error("a manifest that cannot be read was applied")
	}
}

func TestRetryStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		err := retry(t.Context(), func(context.Context) error { return nil })
		if took := time.Since(begin); err != nil || took > 0 {
			t.Errorf("took %s (%v) for what worked at once", took, err)
		}
	})
}
