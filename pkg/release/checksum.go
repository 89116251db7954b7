package release

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// checksum is an expected digest of a file; the zero value expects nothing.
type checksum struct {
	algorithm string // "sha256" or "sha512"
	hex       string
}

// parseChecksum reads "sha256:HEX", "sha512:HEX", or HEX alone, whose length
// tells the algorithm. What follows the digits, as sha256sum writes a file
// name, does not matter.
func parseChecksum(s string) (checksum, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return checksum{}, nil
	}
	name, digits, named := strings.Cut(strings.ToLower(fields[0]), ":")
	if !named {
		name, digits = "", name
	}
	algorithm := map[int]string{2 * sha256.Size: "sha256", 2 * sha512.Size: "sha512"}[len(digits)]
	if _, err := hex.DecodeString(digits); err != nil || algorithm == "" || (named && name != algorithm) {
		return checksum{}, errdefs.New(errdefs.ClassUsage, "BAD-CHECKSUM", "%.150q is not a checksum", fields[0]).
			WithHint("Write sha256: or sha512: and the digest in hexadecimal.")
	}
	return checksum{algorithm, digits}, nil
}

// verifyFile hashes the file and compares. It returns the file's SHA-256.
func (c checksum) verifyFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hashes := map[string]hash.Hash{"sha256": sha256.New()}
	if c.algorithm == "sha512" {
		hashes["sha512"] = sha512.New()
	}
	writers := make([]io.Writer, 0, len(hashes))
	for _, h := range hashes {
		writers = append(writers, h)
	}
	if _, err := io.Copy(io.MultiWriter(writers...), f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if c.algorithm != "" {
		if got := hex.EncodeToString(hashes[c.algorithm].Sum(nil)); got != c.hex {
			return "", errdefs.New(errdefs.ClassFailed, "CHECKSUM-MISMATCH", "%s has %s %s, expected %s", path, c.algorithm, got, c.hex).
				WithHint("The file is damaged or is not the one that was meant: get it again, and check where the checksum is from.")
		}
	}
	return hex.EncodeToString(hashes["sha256"].Sum(nil)), nil
}
