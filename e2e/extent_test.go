//go:build e2e && !full

package e2e

// times is how often what must work each time is repeated.
const times = 1
