// Testnode is the smallest thing that boots as a node: an init that prints the
// boot line and reaps, and the handful of Unix commands that the provider
// suite runs, all in one static program that is linked under their names. It
// lets a provider be tested without a node image and without a registry.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if err := run(name, args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(code(name))
	}
}

// code is what GNU's command of that name exits with when a file is missing.
func code(name string) int {
	if name == "ls" {
		return 2
	}
	return 1
}

func run(name string, args []string) error {
	switch name {
	case "init":
		return boot(os.Getenv("TESTNODE"))
	case "true":
		return nil
	case "sleep":
		duration, err := time.ParseDuration(args[0] + "s")
		time.Sleep(duration)
		return err
	case "false":
		os.Exit(1)
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "cat":
		return cat(args)
	case "cp":
		return copyFile(args[0], args[1])
	case "ls":
		return list(args)
	case "stat": // stat -c %a PATH
		info, err := os.Stat(args[2])
		if err != nil {
			return err
		}
		fmt.Printf("%o\n", info.Mode().Perm())
	case "printenv":
		fmt.Println(os.Getenv(args[0]))
	case "hostname":
		host, err := os.Hostname()
		fmt.Println(host)
		return err
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

// boot is the first process. TESTNODE chooses how badly it behaves.
func boot(behaviour string) error {
	fmt.Println("testnode: booting")
	switch behaviour {
	case "die":
		fmt.Println("testnode: no root file system")
		os.Exit(3)
	case "silent":
	default:
		// Colours as systemd writes them.
		fmt.Print("[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go reap()
	<-stop
	return nil
}

func reap() {
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, 0, nil); err != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func cat(paths []string) error {
	if len(paths) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in := os.Stdin
	if from != "/dev/stdin" {
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func list(dirs []string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	}
	return nil
}
