package devnet

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
)

// openDirectory makes the directory, or takes that of an earlier run, whose
// vendor of machines stays the same.
func (n *Network) openDirectory(p *plan) (err error) {
	if p.dir = n.config.Data; p.dir == "" {
		n.temporary = true
		if p.dir, err = os.MkdirTemp("", "cocoon-devnet-"); err != nil {
			return err
		}
		n.info.Data = p.dir
	}
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return err
	}
	for _, sub := range []string{"", authorityDir, configDir, logDir, walletDir, chainDir, dataDir} {
		if err := os.MkdirAll(p.path(sub), 0o700); err != nil {
			return err
		}
	}
	return refuseSecond(p.dir)
}

// refuseSecond keeps two devnets from writing into one directory.
func refuseSecond(dir string) error {
	info, err := ReadInfo(dir)
	if err != nil {
		return nil // none, or the torn file of a crash
	}
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(info.BaseURL + "/models")
	if err != nil {
		return nil
	}
	resp.Body.Close()
	return fmt.Errorf("devnet: %s belongs to a devnet that is running (process %d); stop it or name another directory", dir, info.PID)
}

func (n *Network) openLog(p *plan) error {
	if n.log = n.config.Log; n.log != nil {
		return nil
	}
	f, err := os.OpenFile(p.path(logDir, "devnet.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n.log, n.closeLog = slog.New(slog.NewTextHandler(f, nil)), f.Close
	return nil
}

func prepareAuthority(dir string) error {
	if _, err := insecure.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	authority, err := insecure.NewAuthority()
	if err != nil {
		return err
	}
	return authority.Save(dir)
}
