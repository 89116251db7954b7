package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
)

// URL is an official kubernetes-server-linux-ARCH.tar.gz to download. Without
// a Checksum, the one that the server offers beside it (.sha512, .sha256) is
// used: that finds damage, but not a server that lies.
type URL struct {
	URL      string
	Checksum string // "sha256:..." or "sha512:..."
	Builder  *Builder
	Client   *http.Client // nil is http.DefaultClient
}

// String implements Source. It leaves out a password and a query, which may
// be secrets.
func (u URL) String() string {
	parsed, err := url.Parse(u.URL)
	if err != nil {
		return "URL"
	}
	parsed.User, parsed.RawQuery, parsed.Fragment = nil, "", ""
	return parsed.String()
}

// Fetch implements Source. A download whose checksum is known stays in the
// build cache and is not repeated.
func (u URL) Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error) {
	task := progress.Start(r, "download-kubernetes", "Downloading Kubernetes", "")
	file, sum, cached, err := u.download(ctx, task)
	if err != nil {
		return Kubernetes{}, task.Done(fmt.Errorf("download %s: %w", u, err))
	}
	if cached {
		task.Skip("downloaded before")
	} else if err := task.Done(nil); err != nil {
		return Kubernetes{}, err
	}
	return Tarball{Path: file, Checksum: sum, Origin: u.String(), Builder: u.Builder}.Fetch(ctx, arch, r)
}

// download returns the path of the file and its checksum.
func (u URL) download(ctx context.Context, task *progress.Task) (file, sum string, cached bool, err error) {
	parsed, err := url.Parse(u.URL)
	if err != nil {
		return "", "", false, errdefs.New(errdefs.ClassUsage, "BAD-SOURCE", "it is not a URL")
	}
	want, err := u.expected(ctx, parsed, task)
	if err != nil {
		return "", "", false, err
	}
	file = filepath.Join(u.Builder.Cache, "downloads", shortHash([]byte(u.URL))+"-"+path.Base("/"+parsed.Path))
	unlock, err := lock(ctx, file)
	if err != nil {
		return "", "", false, err
	}
	defer unlock()
	if want.algorithm != "" {
		if sum, err := want.verifyFile(file); err == nil {
			return file, "sha256:" + sum, true, nil
		}
	}
	part := file + ".part"
	defer os.Remove(part)
	if err := u.save(ctx, part, task); err != nil {
		return "", "", false, err
	}
	if sum, err = want.verifyFile(part); err != nil {
		return "", "", false, err
	}
	return file, "sha256:" + sum, false, os.Rename(part, file)
}

// expected is the checksum given, else the one the server offers.
func (u URL) expected(ctx context.Context, parsed *url.URL, task *progress.Task) (checksum, error) {
	if u.Checksum != "" {
		return parseChecksum(u.Checksum)
	}
	for _, algorithm := range []string{"sha512", "sha256"} {
		beside := *parsed
		beside.Path += "." + algorithm
		beside.RawPath = ""
		text, err := u.get(ctx, beside.String())
		if errdefs.Is(err, errdefs.ClassNotFound) {
			continue
		}
		if err != nil {
			return checksum{}, err
		}
		data, err := io.ReadAll(io.LimitReader(text.Body, 1<<10))
		_ = text.Body.Close()
		if err != nil {
			return checksum{}, err
		}
		sum, err := parseChecksum(algorithm + ":" + strings.TrimSpace(string(data)))
		if err != nil {
			return checksum{}, fmt.Errorf("read %s.%s: %w", u, algorithm, err)
		}
		return sum, nil
	}
	task.Update("there is no checksum to verify it with")
	return checksum{}, nil
}

// get asks for a document; the caller closes the body.
func (u URL) get(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := u.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		// url.Error repeats the address with its query
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	_ = resp.Body.Close()
	class := errdefs.ClassUnavailable
	// object stores say forbidden of what they do not have
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusGone {
		class = errdefs.ClassNotFound
	}
	return nil, errdefs.New(class, "DOWNLOAD-REFUSED", "the server says %s", resp.Status).
		WithHint("Check the address in a browser.")
}

func (u URL) save(ctx context.Context, to string, task *progress.Task) error {
	resp, err := u.get(ctx, u.URL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	meter := &meter{task: task, total: resp.ContentLength}
	_, err = io.Copy(io.MultiWriter(f, meter), resp.Body)
	return errors.Join(err, f.Close())
}

// meter reports how much has come, about twice a second.
type meter struct {
	task        *progress.Task
	done, total int64 // total is -1 when unknown
	last        time.Time
}

// Write implements io.Writer; it never fails.
func (m *meter) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	if now := time.Now(); now.Sub(m.last) >= 500*time.Millisecond {
		m.last = now
		const mb = 1e6
		if m.total > 0 {
			m.task.Update(fmt.Sprintf("%.0f of %.0f MB", float64(m.done)/mb, float64(m.total)/mb))
		} else {
			m.task.Update(fmt.Sprintf("%.0f MB", float64(m.done)/mb))
		}
	}
	return len(p), nil
}
