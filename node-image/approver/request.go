package approver

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// signer is what signs the serving certificates of kubelets.
const signer = "kubernetes.io/kubelet-serving"

// Request is the part of a CertificateSigningRequest that is looked at. Who made
// it is what the API server says, and not the requester.
type Request struct {
	Metadata struct{ Name, ResourceVersion string }
	Spec     struct {
		Request    []byte // PEM
		SignerName string
		Usages     []string
		Username   string
		Groups     []string
	}
	Status struct{ Conditions []struct{ Type string } }
}

const userPrefix = "system:node:"

// nodeGroup is the group of all kubelets, and the organization in their
// certificates.
const nodeGroup = "system:nodes"

var nodeForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// Node is the name of the node whose kubelet made the request; an error when it
// was somebody else, or for something else.
func (r Request) Node() (string, error) {
	name, ok := strings.CutPrefix(r.Spec.Username, userPrefix)
	switch {
	case r.Spec.SignerName != signer:
		return "", fmt.Errorf("it is for signer %q", r.Spec.SignerName)
	case !ok || !nodeForm.MatchString(name) || !slices.Contains(r.Spec.Groups, nodeGroup):
		return "", errors.New("no kubelet made it")
	}
	return name, nil
}

// Check returns why a request is more than a serving certificate for the node
// that made it, whose addresses these are.
func (r Request) Check(addrs []netip.Addr) error {
	node, err := r.Node()
	if err != nil {
		return err
	}
	if err := checkUsages(r.Spec.Usages); err != nil {
		return err
	}
	block, rest := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return errors.New("it is not one request in PEM form")
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = asked.CheckSignature()
	}
	switch {
	case err != nil:
		return err
	case asked.Subject.CommonName != r.Spec.Username || !slices.Equal(asked.Subject.Organization, []string{nodeGroup}):
		return fmt.Errorf("its subject is %q", asked.Subject)
	case len(asked.EmailAddresses) > 0 || len(asked.URIs) > 0:
		return errors.New("it has other names than of a host")
	case len(asked.DNSNames) == 0 && len(asked.IPAddresses) == 0:
		return errors.New("it names no host")
	}
	for _, name := range asked.DNSNames {
		if name != node {
			return fmt.Errorf("it names host %q", name)
		}
	}
	return checkAddresses(asked.IPAddresses, addrs)
}

func checkAddresses(asked []net.IP, addrs []netip.Addr) error {
	for _, ip := range asked {
		addr, ok := netip.AddrFromSlice(ip)
		addr = addr.Unmap()
		if !ok || addr.IsLoopback() || addr.IsUnspecified() || !slices.Contains(addrs, addr) {
			return fmt.Errorf("%s is not an address of the node", ip)
		}
	}
	return nil
}

// checkUsages wants a certificate that is good for serving, and nothing else.
func checkUsages(usages []string) error {
	for _, usage := range usages {
		if !slices.Contains([]string{"digital signature", "key encipherment", "server auth"}, usage) {
			return fmt.Errorf("it is for %s", usage)
		}
	}
	if !slices.Contains(usages, "server auth") {
		return errors.New("it is not for serving")
	}
	return nil
}
