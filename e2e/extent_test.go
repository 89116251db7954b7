//go:build e2e && !full

package e2e

import "time"

// times is how often what must work each time is repeated.
const times = 1

// longestPause is how long no write may be acknowledged when a control plane is
// lost or comes. Ten seconds are promised, of a machine that has time: this one
// may compile and make clusters beside.
const longestPause = 30 * time.Second
