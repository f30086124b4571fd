package devnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencocoon/cocoon/atomicfile"
)

// InfoFile is the file of a devnet's directory that tells where everything
// is. Scripts may rely on its members. It holds no secret.
const InfoFile = "network.json"

// Info is the content of [InfoFile].
type Info struct {
	// BaseURL is what an OpenAI SDK wants to be told.
	BaseURL string `json:"base_url"`
	// Model is the model that the workers serve.
	Model string `json:"model"`
	// FullModel is its name as workers announce it and the registry lists it:
	// name@commit:hash. For a model whose file nobody here has, commit is
	// "unpinned" and the hash all zeros.
	FullModel string `json:"full_model"`
	// Engine is the engine behind the workers.
	Engine EngineInfo `json:"engine"`
	// PID is the devnet's own process.
	PID int `json:"pid"`
	// Split tells whether the roles are processes of their own.
	Split bool `json:"split"`
	// Attestation says in words what the attestation is worth.
	Attestation string `json:"attestation"`
	// Nodes are the roles with their addresses.
	Nodes []NodeInfo `json:"nodes"`
	// Contracts are the addresses of the contracts, by name.
	Contracts map[string]string `json:"contracts"`
	// Processes are there with Split only.
	Processes []Process `json:"processes,omitempty"`

	Data string `json:"data"`
	// GlobalConfig is how any TON client finds the chain.
	GlobalConfig string `json:"global_config"`
	// FaucetKeyFile is the key file of the wallet that has all coins.
	FaucetKeyFile    string `json:"faucet_key_file"`
	TestRoot         string `json:"test_root"`
	ControlTokenFile string `json:"control_token_file"`
	LogDirectory     string `json:"log_directory"`
}

// EngineInfo is the engine as it was found.
type EngineInfo struct {
	URL  string `json:"url"`
	Kind string `json:"kind"`
}

// NodeInfo is one role. Addresses that it does not have are empty.
type NodeInfo struct {
	Role string `json:"role"`
	Name string `json:"name"`
	// HTTP serves /stats, /jsonstats and /metrics; a client also /v1.
	HTTP string `json:"http,omitempty"`
	// Workers and Clients are a proxy's two doors.
	Workers string `json:"workers_address,omitempty"`
	Clients string `json:"clients_address,omitempty"`
	// Keys is a key manager's door.
	Keys string `json:"keys_address,omitempty"`
	// Liteserver is where a chain answers.
	Liteserver string `json:"liteserver,omitempty"`
	// Owner is the wallet that pays or is paid.
	Owner string `json:"owner_address,omitempty"`
	// Wallet is the one that the node itself spends from.
	Wallet string `json:"wallet_address,omitempty"`
}

// ReadInfo reads [InfoFile] of a devnet's directory.
func ReadInfo(dir string) (*Info, error) {
	b, err := os.ReadFile(filepath.Join(dir, InfoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s: name the directory given to `cocoon devnet --data`, while it runs", dir, InfoFile)
	}
	if err != nil {
		return nil, err
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, InfoFile), err)
	}
	return &info, nil
}

// write replaces the file in one step: a reader sees the old or the new one.
func (i *Info) write(dir string) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(dir, InfoFile), append(b, '\n'), 0o600)
}
