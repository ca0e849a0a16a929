// A server that speaks MongoDB's wire protocol, for the tests: FerretDB 1.24 on SQLite files.
//
//	ferretdb ADDRESS FOLDER
//
// listens on ADDRESS (127.0.0.1:PORT), keeps its data under FOLDER, and prints the URI once it listens. It ends on
// SIGTERM and SIGINT, and when its standard input is a pipe that ends: so it never outlives the tests, however they
// end. FerretDB's own command cannot be installed as a module: it lacks a file that its release makes.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb ADDRESS FOLDER")
		os.Exit(2)
	}
	address, folder := os.Args[1], os.Args[2]
	server, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: address},
		// Warnings would name every unsupported field of a client's handshake.
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler: "sqlite",
		// Without syncs it is quicker, and loses nothing when its process is killed: what was written is the kernel's.
		SQLiteURL: "file:" + folder + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if input, err := os.Stdin.Stat(); err == nil && input.Mode()&os.ModeNamedPipe != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	fmt.Println("mongodb://" + address + "/")
	if err := server.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
