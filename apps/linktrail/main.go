// Command linktrail runs everything on one machine, migrates stores, manages links and keys, and shows traces.
package main

import (
	"os"

	"github.com/linktrail/linktrail/apps/linktrail/internal/cmd"
)

func main() { os.Exit(cmd.Main(os.Args[1:], os.Stdout, os.Stderr)) }
