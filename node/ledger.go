package node

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/postgres"
)

// Stores that a ledger can be kept in.
const (
	OnDisk     = "disk"
	InPostgres = "postgres"
)

// Ledger is where a proxy's ledger is kept.
type Ledger struct {
	// Store is "disk", which is the data directory and the default, or "postgres".
	Store string `json:"ledger,omitempty"`
	// URL is the connection string of the database, URLFile a file that holds it:
	// it may have a password in it, so it is never shown. The ledger's name there is the
	// proxy's public key; two proxies with one key cannot have it at the same time.
	URL     string `json:"ledger_url,omitempty"`
	URLFile string `json:"ledger_url_file,omitempty"`
}

// Check adds what is wrong with the settings.
func (l *Ledger) Check(p *Problems, data string) {
	named := l.URL != "" || l.URLFile != ""
	switch l.Store {
	case "", OnDisk:
		if named {
			p.Add("ledger_url and ledger_url_file: they mean something with ledger %s", InPostgres)
		}
	case InPostgres:
		if (l.URL == "") == (l.URLFile == "") {
			p.Add("ledger_url_file or ledger_url: want one of them with ledger %s: the connection string of the database", InPostgres)
		}
	default:
		p.Add("ledger %q: want %s or %s", l.Store, OnDisk, InPostgres)
	}
	if data == "" && (l.Store != "" || named) {
		p.Add("ledger, ledger_url and ledger_url_file: there is no ledger without data")
	}
}

// open opens the store of the proxy with this key. It fails with
// [ledger.ErrHeld] while another process has it.
func (l *Ledger) open(data string, key ed25519.PublicKey) (ledger.Store, error) {
	here := filepath.Join(data, ledgerDir)
	if l.Store != InPostgres {
		return disk.Open(here, disk.Options{})
	}
	if list, err := os.ReadDir(here); err == nil && len(list) > 0 {
		return nil, fmt.Errorf("ledger: %s holds this proxy's ledger, and settings say %s: an empty ledger would be an old one; use ledger %s, or move the directory away if the newest ledger is in the database", here, InPostgres, OnDisk)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	url, err := l.url()
	if err != nil {
		return nil, err
	}
	s, err := postgres.Open(context.Background(), url, l.options(key))
	if err != nil {
		return nil, err // not s: a nil *Store in an interface is not nil
	}
	return s, nil
}

// Look opens the store for reading, beside the proxy that writes it or without one.
func (l *Ledger) Look(data string, key ed25519.PublicKey) (ledger.Store, error) {
	if l.Store != InPostgres {
		s, err := disk.Look(filepath.Join(data, ledgerDir), disk.Options{})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	url, err := l.url()
	if err != nil {
		return nil, err
	}
	s, err := postgres.Look(url, l.options(key))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (l *Ledger) options(key ed25519.PublicKey) postgres.Options {
	return postgres.Options{Ledger: hex.EncodeToString(key)}
}

func (l *Ledger) url() (string, error) {
	if l.URLFile == "" {
		return l.URL, nil
	}
	url, err := Secret(l.URLFile)
	if err != nil {
		return "", fmt.Errorf("ledger_url_file: %w", err)
	}
	return url, nil
}

// ledgerDir lies in a proxy's data directory.
const ledgerDir = "ledger"
