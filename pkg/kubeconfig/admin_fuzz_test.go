package kubeconfig

import (
	"strings"
	"testing"
)

// FuzzAdmin: whatever an administrator's kubeconfig holds, errors show nothing
// of it, what joining nodes get has no credentials, and what is accepted can be
// put into a file.
func FuzzAdmin(f *testing.F) {
	const hush = "c2VjcmV0"
	for _, seed := range []string{
		"clusters: [{name: dev, cluster: {certificate-authority-data: Q0E=, server: s}}]\nusers: [{name: a, user: {client-certificate-data: Y2VydA==, client-key-data: " + hush + "}}]\n",
		"users: *" + hush, "clusters: &" + hush + " [*" + hush + "]", "users: " + hush, "a: !!int " + hush, hush + ": {" + hush, "users: [{user: {client-key-data: 1" + hush + "!}}]",
		"? " + hush + "\n: [", "<<: " + hush, "clusters: {cluster: " + hush + "}", "\xff" + hush, "%TAG " + hush,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, admin string) {
		entry, err := FromAdmin([]byte(admin), "petri-dev", "https://127.0.0.1:1")
		if err != nil && strings.Contains(err.Error(), hush) {
			t.Fatalf("the error shows content: %v", err)
		}
		discovery, discoveryErr := Discovery([]byte(admin))
		if discoveryErr != nil && strings.Contains(discoveryErr.Error(), hush) {
			t.Fatalf("the error shows content: %v", discoveryErr)
		}
		if strings.Contains(string(discovery), "client-key-data:") {
			t.Fatalf("joining nodes are told\n%s", discovery)
		}
		if err != nil {
			return
		}
		merged, err := add(nil, entry)
		if err != nil {
			t.Fatalf("put into a file: %v", err)
		}
		mustParse(t, merged)
	})
}
