package devnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/node"
)

// What lies in a devnet's directory, beside [InfoFile].
const (
	configFile   = "global.config.json" // of the chain
	rootFile     = "root.address"       // of the registry's contract
	chainDir     = "chain"
	walletDir    = "wallets" // people's keys
	dataDir      = "data"    // what each node keeps
	tokenFile    = "control-token"
	authorityDir = "authority" // of the simulated machines' vendor
	configDir    = "config"    // of the processes of a split devnet
	logDir       = "log"
)

// Images that the simulated machines run.
const (
	proxyImage  = "cocoon devnet proxy"
	workerImage = "cocoon devnet worker"
	keysImage   = "cocoon devnet keys"
)

// Prices per adjusted token, and a stake that lets a thousand requests run at
// once, each with room for a long answer; the salt of addresses.
const (
	pricePerToken coin.Nano = 1000
	workerFee     coin.Nano = 900
	clientStake             = 100 * coin.TON
	uniqueID                = 13
)

// Money moves on the chain at amounts that a few questions reach, though the
// fees of moving it are higher: a devnet is there to show it.
const (
	settleFrom   = "0.0002"
	withdrawFrom = "0.0001"
	noteEvery    = node.Duration(2 * time.Second)
)

// attestationNotice is what the attestation of a devnet is worth.
const attestationNotice = "SIMULATED: the machines are vouched for by a test root of this devnet, not by Intel; anyone with its files can look inside"

// plan is everything that is decided before the first role starts.
type plan struct {
	dir     string
	program string
	nodes   []*spec // in the order of their start; the chain comes before them
	chain   *spec
	client  *spec
	proxies []*spec
	wallets *keys
	root    *contract.Root // the registry as wanted
}

// ownerName is the key of the network's owner.
const ownerName = "network-owner"

// spec is one role to be run.
type spec struct {
	info     NodeInfo
	settings node.Role
}

func (p *plan) path(elements ...string) string {
	return filepath.Join(append([]string{p.dir}, elements...)...)
}

// prepare makes the directory, finds the engine and writes what the roles
// will read.
func (n *Network) prepare(ctx context.Context) (*plan, error) {
	p := &plan{program: n.config.Program}
	if err := n.openDirectory(p); err != nil {
		return nil, err
	}
	if n.config.Split && p.program == "" {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("devnet: find this program to run it again: %w", err)
		}
		p.program = program
	}
	if err := n.openLog(p); err != nil {
		return nil, err
	}
	if err := prepareAuthority(p.path(authorityDir)); err != nil {
		return nil, err
	}
	if _, err := node.Token(p.path(tokenFile)); err != nil {
		return nil, err
	}
	n.config.Progress("attestation: " + attestationNotice)
	engine, err := n.engine(ctx, p)
	if err != nil {
		return nil, err
	}
	n.info.Data, n.info.PID, n.info.Split, n.info.Attestation = p.dir, os.Getpid(), n.config.Split, attestationNotice
	n.info.GlobalConfig, n.info.ControlTokenFile, n.info.LogDirectory = p.path(configFile), p.path(tokenFile), p.path(logDir)
	n.info.TestRoot = p.path(authorityDir, insecure.RootFile)
	return p, n.planRoles(ctx, p, engine)
}

// planRoles gives every role its name, addresses and settings, and plans the
// registry that makes them a network.
func (n *Network) planRoles(ctx context.Context, p *plan, e *EngineInfo) error {
	n.info.Engine = *e
	p.wallets = p.keys()
	p.root = n.registry(p)
	var ports portPicker
	n.planChain(p, &ports)
	if n.config.Keys {
		if err := n.planKeys(ctx, p, &ports); err != nil {
			return err
		}
	}
	for i := 1; i <= n.config.Proxies; i++ {
		n.planProxy(p, fmt.Sprintf("proxy-%d", i), &ports)
	}
	for i := 1; i <= n.config.Workers; i++ {
		n.planWorker(p, fmt.Sprintf("worker-%d", i), &ports, n.info.FullModel)
	}
	listen, err := n.clientAddress(&ports)
	if err != nil {
		return err
	}
	n.planClient(p, listen)
	if err := errors.Join(ports.err, p.wallets.errs); err != nil {
		return err
	}
	n.info.BaseURL = "http://" + listen + "/v1"
	for _, s := range p.nodes {
		if s.info.Role != RoleEngine {
			n.info.Nodes = append(n.info.Nodes, s.info)
		}
	}
	n.info.Nodes = append(n.info.Nodes, p.chain.info)
	return nil
}

// registry is what the network's owner publishes.
func (n *Network) registry(p *plan) *contract.Root {
	codes := contract.OurCodes()
	return &contract.Root{
		Owner: p.wallets.wallet(ownerName), Version: 1, ParamsVersion: 1, StructVersion: 4, UniqueID: uniqueID, IsTest: true,
		PricePerToken: pricePerToken, WorkerFeePerToken: workerFee,
		Multipliers: ledger.Multipliers{Prompt: 10000, Cached: 10000, Completion: 10000, Reasoning: 10000},
		ProxyDelay:  600, ClientDelay: 300, MinProxyStake: coin.TON, MinClientStake: clientStake,
		ProxyImages:  set(insecure.ImageHash(proxyImage)),
		WorkerImages: set(insecure.ImageHash(workerImage)),
		Models:       set(contract.ModelHash(n.info.FullModel)),
		ProxyCode:    codes.Proxy, WorkerCode: codes.Worker, ClientCode: codes.Client,
	}
}

// planChain keeps the chain in memory unless something has to survive: a
// named directory, or a process that dies.
func (n *Network) planChain(p *plan, ports *portPicker) {
	s := &node.Chain{Listen: ports.pick(), GlobalConfig: p.path(configFile)}
	if n.config.Split || !n.temporary {
		s.Dir = p.path(chainDir)
	}
	p.chain = &spec{settings: s, info: NodeInfo{Role: RoleChain, Name: RoleChain, Liteserver: s.Listen}}
}

// registerAfter is enough for proxies on this machine to ask for a new key, and
// little for a person who waits.
const registerAfter = node.Duration(2 * time.Second)

// planKeys comes before the proxies, which ask the key manager.
func (n *Network) planKeys(ctx context.Context, p *plan, ports *portPicker) (err error) {
	const name = "keys-1"
	s := &node.Keys{Common: n.common(p, name, ports.pick()), KeysListen: ports.pick(), Data: p.dataDirectory(name), RegisterAfter: registerAfter}
	s.SimulatedImage = keysImage
	n.seal(p, name, &s.Common)
	p.root.KeyManager, p.root.KeyManagerImage = s.KeysListen, insecure.ImageHash(keysImage)
	if p.root.KeyManagerKey, err = node.PublicKey(ctx, s, node.ManagerKey); err != nil {
		return fmt.Errorf("devnet: the key manager's key: %w", err)
	}
	spec := p.add(RoleKeys, name, s, s.Common)
	spec.info.Keys = s.KeysListen
	return nil
}

func (n *Network) planProxy(p *plan, name string, ports *portPicker) {
	root := p.root
	s := &node.Proxy{
		Common:        n.common(p, name, ports.pick()),
		WorkersListen: ports.pick(), ClientsListen: ports.pick(), QueueWait: n.config.queueWait,
	}
	s.SimulatedImage = proxyImage
	n.seal(p, name, &s.Common)
	seqno := uint32(len(root.Proxies) + 1)
	root.LastProxySeqno = seqno
	workers, err1 := netip.ParseAddrPort(n.config.door(name+" workers", s.WorkersListen))
	clients, err2 := netip.ParseAddrPort(n.config.door(name+" clients", s.ClientsListen))
	ports.err = errors.Join(ports.err, err1, err2)
	root.Proxies = append(root.Proxies, contract.ProxyEntry{Seqno: seqno, Workers: workers, Clients: clients})
	s.Data, s.ChargeFrom, s.PayoutFrom, s.WithdrawFrom = p.dataDirectory(name), settleFrom, settleFrom, withdrawFrom
	s.NoteEvery = noteEvery
	spec := p.add(RoleProxy, name, s, s.Common)
	spec.info.Workers, spec.info.Clients = s.WorkersListen, s.ClientsListen
	p.proxies = append(p.proxies, spec)
}

func (n *Network) planWorker(p *plan, name string, ports *portPicker, model string) {
	s := &node.Worker{
		Common: n.common(p, name, ports.pick()),
		Engine: n.info.Engine.URL, Model: model, Coefficient: 1000, MaxActiveRequests: 1024,
		ProxyConnections: n.config.Proxies,
	}
	s.SimulatedImage = workerImage
	n.seal(p, name, &s.Common)
	s.Data = p.dataDirectory(name)
	p.add(RoleWorker, name, s, s.Common)
}

// seal keeps a node's keys sealed, if they are to be or are already. A client
// stays as it is: it is a person's, on no confidential machine.
func (n *Network) seal(p *plan, name string, c *node.Common) {
	plain := exists(filepath.Join(p.dataDirectory(name), node.WalletKey))
	if n.config.Sealed && !plain || exists(filepath.Join(p.dataDirectory(name), node.SealedFile)) {
		c.Seal = node.SealSimulated
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (n *Network) planClient(p *plan, listen string) {
	s := &node.Client{Common: n.common(p, "client-1", listen), ProxyConnections: n.config.Proxies, Purse: node.Purse{Data: p.dataDirectory("client-1")}}
	p.client = p.add(RoleClient, "client-1", s, s.Common)
}

// common is what all roles of a devnet are told.
func (n *Network) common(p *plan, name, listen string) node.Common {
	return node.Common{
		Listen: listen, TONConfig: p.path(configFile), InsecureUnsigned: true,
		OwnerAddress: p.wallets.wallet(name).String(), ControlTokenFile: p.path(tokenFile),
		Attestation: node.Attestation{SimulatedTDX: p.path(authorityDir)},
	}
}

func (p *plan) add(role, name string, settings node.Role, c node.Common) *spec {
	s := &spec{settings: settings, info: NodeInfo{Role: role, Name: name, HTTP: "http://" + c.Listen, Owner: c.OwnerAddress}}
	p.nodes = append(p.nodes, s)
	return s
}

// clientAddress is where the OpenAI API will be.
func (n *Network) clientAddress(ports *portPicker) (string, error) {
	host, port, err := net.SplitHostPort(n.config.Listen)
	if err != nil {
		return "", fmt.Errorf("devnet: listen %q: want host:port", n.config.Listen)
	}
	if port == "0" {
		_, port, _ = net.SplitHostPort(ports.pick())
		return net.JoinHostPort(host, port), ports.err
	}
	l, err := net.Listen("tcp", n.config.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", fmt.Errorf("devnet: %s is taken by another program, perhaps another devnet; stop it, or choose another address with --listen (127.0.0.1:0 is any free port)", n.config.Listen)
	}
	if err != nil {
		return "", fmt.Errorf("devnet: %w; choose another address with --listen (127.0.0.1:0 is any free port)", err)
	}
	return n.config.Listen, l.Close()
}

func set(hash [32]byte) map[[32]byte]struct{} { return map[[32]byte]struct{}{hash: {}} }
