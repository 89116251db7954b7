// Package resolver lets pods that have no IPv4 address ask the engine's DNS
// server: it answers at the node's IPv6 address and passes what it is asked on
// to the server, which listens on IPv4 alone, so that no rule of the kernel
// could lead there. It reads no message and keeps none.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// patience is how long the server may take for an answer. Clients have asked
// again by then.
const patience = 10 * time.Second

// largest is the size of the largest datagram.
const largest = 64 << 10

// Relay passes DNS on.
type Relay struct {
	// Listen is where it is asked, and Server whom it asks: "host:port".
	Listen, Server string
}

// ReadListen is where a relay is asked that is to answer at the address in a
// file.
func ReadListen(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return netip.AddrPortFrom(addr, 53).String(), nil
}

// Serve answers over UDP and TCP until ctx ends or one of them fails.
func (r Relay) Serve(ctx context.Context) error {
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", r.Listen)
	if err != nil {
		return err
	}
	defer packets.Close()
	streams, err := config.Listen(ctx, "tcp", packets.LocalAddr().String())
	if err != nil {
		return err
	}
	defer streams.Close()
	failed := make(chan error, 2)
	go func() { failed <- r.servePackets(ctx, packets) }()
	go func() { failed <- r.serveStreams(ctx, streams) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (r Relay) servePackets(ctx context.Context, conn net.PacketConn) error {
	buffer := make([]byte, largest)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // of one client
		}
		query := append([]byte(nil), buffer[:n]...)
		go func() {
			// a query without an answer is asked again
			if answer, err := r.ask(ctx, query); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}()
	}
}

// ask asks the server one question.
func (r Relay) ask(ctx context.Context, query []byte) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", r.Server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	answer := make([]byte, largest)
	n, err := conn.Read(answer)
	return answer[:n], err
}

func (r Relay) serveStreams(ctx context.Context, listener net.Listener) error {
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue
		}
		go r.pass(ctx, client)
	}
}

// pass joins a client to the server until either ends.
func (r Relay) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", r.Server)
	if err != nil {
		return // the client tries again
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}
