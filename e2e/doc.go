// Package e2e holds the tests that run the real petri binary on a real engine:
// one file per behaviour, behind the build tag "e2e". A cluster that several
// tests can use is made once. Every test removes what it made, also when it
// fails, after writing its logs to artifacts/.
package e2e
