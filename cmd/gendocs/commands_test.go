package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// tree has one of everything that the page shows or leaves out.
func tree() *cobra.Command {
	root := &cobra.Command{Use: "app", Long: "Does <things>."}
	root.PersistentFlags().String("provider", "of the environment", "where from")
	run := func(*cobra.Command, []string) {}
	do := &cobra.Command{Use: "do WHAT", Short: "Do it", Example: "  app do a\n  app do b", Run: run}
	do.Flags().StringP("arch", "a", "of the machine", "this | that")
	do.Flags().Int("count", 3, "how many")
	do.Flags().Bool("secret", false, "hidden")
	_ = do.Flags().MarkHidden("secret")
	group := &cobra.Command{Use: "group", Short: "Holds others"}
	group.AddCommand(do)
	gone := &cobra.Command{Use: "gone", Short: "Hidden", Hidden: true, Run: run}
	root.AddCommand(group, gone)
	return root
}

func TestCommandPage(t *testing.T) {
	want := commandHead + "## app\n\nDoes &lt;things>.\n\n- [app group](#app-group): Holds others\n\n" +
		"Flags of all commands:\n\n| flag | default | what it does |\n|---|---|---|\n| `--provider string` |  | where from |\n\n" +
		"## app group\n\nHolds others.\n\n- [app group do](#app-group-do): Do it\n\n" +
		"## app group do\n\nDo it.\n\n```text\napp group do WHAT [flags]\n```\n\n" +
		"Examples:\n\n```sh\napp do a\napp do b\n```\n\n" +
		"| flag | default | what it does |\n|---|---|---|\n" +
		"| `-a`, `--arch string` | that of this machine | this \\| that |\n| `--count int` | `3` | how many |\n"
	if diff := cmp.Diff(want, string(commandPage(tree()))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The page is the same whatever the environment of who makes it.
func TestCommandPageIsNeutral(t *testing.T) {
	make := func() string {
		page, err := commandReference(root)
		if err != nil {
			t.Fatal(err)
		}
		return string(page)
	}
	plain := make()
	for _, name := range []string{"PETRI_CLUSTER_NAME", "PETRI_PROVIDER", "KUBECONFIG", "HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, "/of-this-machine")
	}
	if diff := cmp.Diff(plain, make()); diff != "" {
		t.Errorf("the environment changes it:\n%s", diff)
	}
	if !strings.Contains(plain, "## petri create cluster\n") {
		t.Error("petri create cluster is not on the page")
	}
}
