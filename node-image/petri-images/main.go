// Command petri-images serves the images of the engine, whose socket it is
// given, to the nodes of one cluster. It is the only program of its container,
// apart from petri-node, which starts often and must not carry an engine's
// client. It wires packages together and decides nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/petri-cluster/petri/node-image/imageserver"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/container"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "petri-images:", err)
		os.Exit(1)
	}
}

const (
	// idle is how long an image is kept that no node reads.
	idle = 5 * time.Minute
	// headerLimit bounds the waiting for a request that somebody began.
	headerLimit = 10 * time.Second
	// dir is where images are kept meanwhile.
	dir = "/var/tmp/petri-images"
	// bootLine tells the host that the container is up. Nothing boots in it: see
	// nodeimage.BootLine.
	bootLine = "Reached target image server, in place of Multi-User System."
)

func run(ctx context.Context) error {
	engine, err := container.New(container.Options{})
	if err != nil {
		return err
	}
	// one that was killed, with its machine perhaps, has left what it kept
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	images := imageserver.New(engine, runtime.GOARCH, dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	server := &http.Server{Addr: ":" + strconv.Itoa(nodeimage.ImageServerPort), Handler: images, ReadHeaderTimeout: headerLimit}
	context.AfterFunc(ctx, func() { server.Close() })
	go images.Sweep(ctx, idle)
	fmt.Println(bootLine)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
