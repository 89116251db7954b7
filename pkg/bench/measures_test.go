package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/petri-cluster/petri/pkg/kube"
)

func TestParseUsage(t *testing.T) {
	got, err := parseUsage("500 100\n1000 5000\n1040 6000\n30 20\n7000\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (usage{memory: 400, cpu: 4, disk: 10*1024 + 7000, etcd: 20 * 1024}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, text := range []string{"", "500 100\n1000 5000\n1040 6000\n30 20\n", "500 100 1000 5000 1040 5000 30 20 7000", "a lot"} {
		if _, err := parseUsage(text); err == nil {
			t.Errorf("%q was understood", text)
		}
	}
}

func TestUsageIsTheMeanOfWorkers(t *testing.T) {
	trial, _ := newTestTrial(t)
	trial.setUsage("worker-", []usage{{memory: 100, cpu: 1}, {memory: 200, cpu: 3}})
	if trial.values["worker-memory"] != 150 || trial.values["worker-cpu"] != 2 {
		t.Errorf("values are %v", trial.values)
	}
}

// The counter passes calls on, those that become a stream as well, and counts
// each once.
func TestCounter(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "engine.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:errcheck // ends with the listener
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, r.Method, " ", r.URL.Path)
			return
		}
		conn, stream, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		said, err := stream.ReadString('\n')
		fmt.Fprintf(conn, "heard %s(%v)", said, err)
	}))
	c, err := newCounter(t.Context(), t.TempDir(), "unix://"+socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.server.Close()
	path := strings.TrimPrefix(c.host, "unix://")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	for range 2 {
		response, err := client.Get("http://engine/v1.41/info")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if string(body) != "GET /v1.41/info" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /exec/1/start HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	stream := bufio.NewReader(conn)
	response, err := http.ReadResponse(stream, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", response, err)
	}
	fmt.Fprintln(conn, "hello")
	if answer, err := io.ReadAll(stream); string(answer) != "heard hello\n(<nil>)" || err != nil {
		t.Errorf("got %q, %v", answer, err)
	}
	if got := c.calls.Load(); got != 3 {
		t.Errorf("counted %d calls, want 3", got)
	}
	if _, err := newCounter(t.Context(), t.TempDir(), "tcp://127.0.0.1:2375"); !isNotMeasured(err) {
		t.Errorf("an engine without a socket: %v", err)
	}
}

// The images that are loaded are well formed, share their large layers
// and differ in the small one.
func TestImages(t *testing.T) {
	image := func(ref string, seed byte) v1.Image {
		var archive bytes.Buffer
		if err := writeImage(&archive, appShape{layers: 3, bytes: 2_000_000}, ref, seed); err != nil {
			t.Fatal(err)
		}
		i, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(i, validate.Fast); err != nil {
			t.Error(err)
		}
		return i
	}
	ids := func(i v1.Image) []v1.Hash {
		config, err := i.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		return config.RootFS.DiffIDs
	}
	a, b := ids(image(firstImage, 0)), ids(image(iterativeImage, 1))
	if len(a) != 3 || len(b) != 3 || a[0] != b[0] || a[1] != b[1] || a[0] == a[1] || a[2] == b[2] {
		t.Errorf("layers are %v and %v", a, b)
	}
}

func TestAppIsWellFormed(t *testing.T) {
	objects, err := kube.Decode([]byte(strings.NewReplacer("NAME", "netcat", "IMAGE", "docker.io/x:1").Replace(appManifest)))
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d objects (%v)", len(objects), err)
	}
	for _, o := range objects {
		if o.GetName() != "netcat" {
			t.Errorf("%s is called %q", o.GetKind(), o.GetName())
		}
	}
}
