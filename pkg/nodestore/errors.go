package nodestore

import (
	"errors"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// linkGrace is how long the end of a connection may take to be known after a
// call has failed on it.
const linkGrace = time.Second

// classify finds what a person can act on in an error of containerd's.
func (s *Store) classify(err error) error {
	if _, ok := errors.AsType[*errdefs.Error](err); ok {
		return err
	}
	// the error went through gRPC: its text is all that is left of it
	if strings.Contains(err.Error(), "no space left on device") {
		return errdefs.New(errdefs.ClassFailed, "NODE-DISK-FULL", "%w", err).
			WithHint("Make room on the disk of the engine, or in the node: petri get images --node %s, petri delete image.", s.node)
	}
	if cause := s.link.cause(); cause != nil {
		return errdefs.New(errdefs.ClassFailed, "NODE-LOST", "%w: %w", err, cause).
			WithHint("The node stopped, or its containerd did: petri status, petri export logs.")
	}
	if cerrdefs.IsFailedPrecondition(err) {
		return errdefs.New(errdefs.ClassFailed, "IMAGE-BROKEN", "%w", err).
			WithHint("The content is not what its digest says. Nothing was tagged: write or build the image again.")
	}
	return err
}
