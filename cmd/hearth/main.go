// Command hearth is AWS Lambda that people run themselves: the server and the
// tool to use it.
package main

import (
	"os"

	"hearth/internal/cli"
)

func main() { os.Exit(cli.Main()) }
