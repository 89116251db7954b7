package resolver

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// echo is a server that answers with what it was asked, over both protocols.
func echo(t *testing.T) string {
	t.Helper()
	packets, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	streams, err := new(net.ListenConfig).Listen(t.Context(), "tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close(); streams.Close() })
	go func() {
		buffer := make([]byte, largest)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(append([]byte("answer to "), buffer[:n]...), from)
		}
	}()
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
		}
	}()
	return packets.LocalAddr().String()
}

// free is an address of IPv6 that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// serve runs a relay until the test ends, and returns where it is asked.
func serve(t *testing.T, server string) string {
	t.Helper()
	relay := Relay{Listen: free(t), Server: server}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- relay.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the relay ended: %v", err)
		}
	})
	return relay.Listen
}

func TestRelay(t *testing.T) {
	listen := serve(t, echo(t))
	for network, want := range map[string]string{"udp": "answer to who?", "tcp": "who?"} {
		if got := ask(t, network, listen); got != want {
			t.Errorf("over %s the answer is %q, want %q", network, got, want)
		}
	}
}

// ask asks until there is an answer: the relay may not listen yet.
func ask(t *testing.T, network, at string) string {
	t.Helper()
	buffer := make([]byte, 100)
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), network, at)
		if err != nil {
			continue
		}
		_, _ = conn.Write([]byte("who?"))
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buffer)
		conn.Close()
		if err == nil {
			return string(buffer[:n])
		}
	}
	t.Fatalf("no answer over %s", network)
	return ""
}

func TestReadListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolver")
	for text, want := range map[string]string{"fd00::2\n": "[fd00::2]:53", "somewhere": "", "": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadListen(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
	}
	if _, err := ReadListen(path + "none"); err == nil {
		t.Error("a file that is not there was read")
	}
}
