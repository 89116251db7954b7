//go:build !linux

package doctor

import "errors"

// Off Linux no engine runs on this machine's kernel, and nobody asks.
func space(string) (Space, error) { return Space{}, errors.ErrUnsupported }

func inotify(instances int) int { return instances }
