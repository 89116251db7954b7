package container

import (
	"strings"
	"testing"
)

// FuzzMessages: whatever an engine streams, reading it ends, and a stream that
// was torn or that has an error is never taken for one that succeeded.
func FuzzMessages(f *testing.F) {
	f.Add(`{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":2}}` + "\r\n" + `{"status":"Done"}`)
	f.Add(`{"error":"no space left","errorDetail":{"message":"no space left"}}`)
	f.Add(`{"status":`)
	f.Add(`null 1 "x" []`)
	f.Fuzz(func(t *testing.T, stream string) {
		layers := map[string][2]int64{}
		bad := false
		err := readMessages(strings.NewReader(stream), func(m message) {
			bad = bad || m.Error != ""
			layers[m.ID] = [2]int64{m.Detail.Current, m.Detail.Total}
			_ = pullState(layers)
		})
		if bad {
			t.Fatalf("an error was taken for progress (%v)", err)
		}
		if err == nil && strings.HasSuffix(strings.TrimSpace(stream), `{"status":`) {
			t.Fatal("a torn stream passed for a whole one")
		}
	})
}

// FuzzConsole: whatever a node writes to its console, the boot line is found in
// a line alone, and an error carries a bounded number of lines without what
// moves a cursor.
func FuzzConsole(f *testing.F) {
	f.Add("booting\r\n[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n")
	f.Add("\x1b]3008;start=x\x07Reached target \x1b]3008;end\x1b\\Multi-User System")
	f.Add(strings.Repeat("line\n", 200) + "\x1b[31")
	f.Fuzz(func(t *testing.T, console string) {
		booted, tail := readConsole(strings.NewReader(console), bootLine)
		if text := console + escapes.ReplaceAllString(console, ""); booted && !strings.Contains(text, "Reached target") {
			t.Fatal("it booted without saying so")
		}
		if lines := strings.Count(tail, "\n"); lines >= consoleTail {
			t.Fatalf("the tail has %d lines", lines+1)
		}
	})
}
