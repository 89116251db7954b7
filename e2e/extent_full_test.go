//go:build e2e && full

package e2e

import "time"

// times is how often what must work each time is repeated.
const times = 10

// longestPause is how long no write may be acknowledged when a control plane is
// lost or comes.
const longestPause = 10 * time.Second
