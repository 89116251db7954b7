package node

import "testing"

func TestCollides(t *testing.T) {
	on := func(address string) Port { return Port{HostPort: 80, ListenAddress: address, Protocol: "tcp"} }
	other, udp := on("127.0.0.1"), on("127.0.0.1")
	other.HostPort, udp.Protocol = 81, "udp"
	for name, test := range map[string]struct {
		with Port
		want bool
	}{
		"the same":         {on("127.0.0.1"), true},
		"another address":  {on("127.0.0.2"), false},
		"all addresses":    {on("0.0.0.0"), true},
		"all of both":      {on("::"), true},
		"none given":       {on(""), true},
		"another port":     {other, false},
		"another protocol": {udp, false},
	} {
		if got, back := on("127.0.0.1").Collides(test.with), test.with.Collides(on("127.0.0.1")); got != test.want || back != test.want {
			t.Errorf("%s: %v and %v, want %v", name, got, back, test.want)
		}
	}
}
