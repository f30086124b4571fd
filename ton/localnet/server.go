package localnet

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/ton"
)

const (
	// maxClients bounds the connections, and with the 16 MB limit of a packet
	// the memory they can claim.
	maxClients = 128
	// maxInFlight bounds what one client may ask at a time. It is below the
	// 100 answers that the library queues before it drops any.
	maxInFlight = 64
)

// Server answers liteserver queries about a chain over ADNL. Queries run
// concurrently; only sending and sealing exclude each other.
type Server struct {
	chain *Chain
	addr  netip.AddrPort
	key   ed25519.PrivateKey
	adnl  *liteclient.Server
	done  chan error // the accept loop's end

	// mu guards the rest. It is never held together with the chain's.
	mu       sync.Mutex
	clients  map[*liteclient.ServerClient]int // queries in flight
	stopping bool
	work     sync.WaitGroup // connections, and queries being answered
}

// Listen opens the liteserver at an address such as 127.0.0.1:0. The server
// answers at once; Run keeps it until its context ends.
func Listen(chain *Chain, address string) (*Server, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !addr.Addr().Is4() {
		return nil, fmt.Errorf("localnet: listen on %s: want an IPv4 address and port, which is all that a global config can name", address)
	}
	for try := 0; ; try++ {
		s := &Server{chain: chain, key: chain.cfg.key("liteserver"), clients: map[*liteclient.ServerClient]int{}, done: make(chan error, 1)}
		if err = s.open(addr); err == nil || addr.Port() != 0 || try == 9 {
			return s, err
		}
	}
}

// open starts the accept loop and waits until it answers. A free port found
// for port 0 may be gone again when it is taken: the caller tries another.
func (s *Server) open(addr netip.AddrPort) error {
	free, err := net.Listen("tcp4", addr.String())
	if err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	s.addr = netip.AddrPortFrom(addr.Addr(), free.Addr().(*net.TCPAddr).AddrPort().Port())
	if err := free.Close(); err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	s.adnl = liteclient.NewServer([]ed25519.PrivateKey{s.key})
	s.adnl.SetConnectionHook(s.joined)
	s.adnl.SetDisconnectHook(s.left)
	s.adnl.SetQueryHandler(s.ask)
	go func() { s.done <- s.adnl.Listen(s.addr.String()) }()
	if err := s.reachable(); err != nil {
		return errors.Join(err, s.adnl.Close())
	}
	return nil
}

// reachable returns when a client gets through to this server and no other.
func (s *Server) reachable() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pool := liteclient.NewConnectionPool()
	defer pool.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := pool.AddConnection(ctx, s.addr.String(), s.PublicKey())
		if err == nil {
			return nil
		}
		select {
		case failed := <-s.done:
			s.done <- failed
			return fmt.Errorf("localnet: liteserver on %s: %w", s.addr, failed)
		case <-ctx.Done():
			return fmt.Errorf("localnet: liteserver on %s does not answer: %w", s.addr, err)
		case <-tick.C:
		}
	}
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// PublicKey is the server's key as configurations write it: base64.
func (s *Server) PublicKey() string {
	return base64.StdEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// Run seals by interval if the chain is set so, and closes the server when
// ctx ends. When it returns, everything the server started has ended.
func (s *Server) Run(ctx context.Context) error {
	var tick <-chan time.Time
	if s.chain.cfg.Interval > 0 {
		ticker := time.NewTicker(s.chain.cfg.Interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return s.Close()
		case err := <-s.done:
			s.done <- err
			return errors.Join(err, s.Close())
		case <-tick:
			if _, err := s.chain.Seal(); err != nil {
				return errors.Join(err, s.Close())
			}
		}
	}
}

// Close stops listening, drops every client, and waits until the last of
// them is gone. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.stopping = true
	for client := range s.clients {
		client.Close()
	}
	s.mu.Unlock()
	err := s.adnl.Close()
	s.done <- <-s.done
	s.work.Wait()
	return err
}

func (s *Server) joined(client *liteclient.ServerClient) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || len(s.clients) >= maxClients {
		return errors.New("no more clients")
	}
	s.clients[client] = 0
	s.work.Add(1)
	return nil
}

func (s *Server) left(client *liteclient.ServerClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.clients[client]; known {
		delete(s.clients, client)
		s.work.Done()
	}
}

// ask runs on the connection's read loop, so it only starts the work.
func (s *Server) ask(ctx context.Context, client *liteclient.ServerClient, id []byte, query tl.Serializable) {
	if !s.enter(client) {
		client.Answer(id, ton.LSError{Code: codeBusy, Text: fmt.Sprintf("more than %d queries at a time: wait for some answers", maxInFlight)})
		return
	}
	go func() {
		defer s.leave(client)
		client.Answer(id, s.chain.answer(ctx, query))
	}()
}

func (s *Server) enter(client *liteclient.ServerClient) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	running, known := s.clients[client]
	if s.stopping || !known || running >= maxInFlight {
		return false
	}
	s.clients[client]++
	s.work.Add(1)
	return true
}

func (s *Server) leave(client *liteclient.ServerClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.clients[client]; known {
		s.clients[client]--
	}
	s.work.Done()
}

// GlobalConfig is the network's global.config.json for this server.
func (s *Server) GlobalConfig() *liteclient.GlobalConfig {
	ip := s.addr.Addr().As4()
	server := liteclient.LiteserverConfig{
		IP:   int64(int32(binary.BigEndian.Uint32(ip[:]))), // signed, by tradition
		Port: int(s.addr.Port()),
		ID:   liteclient.ServerID{Type: "pub.ed25519", Key: s.PublicKey()},
	}
	zero := s.chain.zeroState()
	origin := liteclient.ConfigBlock{Workchain: zero.Workchain, Shard: wholeShard, RootHash: zero.RootHash, FileHash: zero.FileHash}
	return &liteclient.GlobalConfig{
		Type:        "config.global",
		DHT:         liteclient.DHTConfig{Type: "dht.config.global", K: 6, A: 3, StaticNodes: liteclient.DHTNodes{Type: "dht.nodes", Nodes: []liteclient.DHTNode{}}},
		Liteservers: []liteclient.LiteserverConfig{server},
		Validator:   liteclient.ValidatorConfig{Type: "validator.config.global", ZeroState: origin, InitBlock: origin, Hardforks: []liteclient.ConfigBlock{}},
	}
}

// WriteGlobalConfig writes GlobalConfig to a file, whole or not at all.
func (s *Server) WriteGlobalConfig(path string) error {
	text, err := json.MarshalIndent(s.GlobalConfig(), "", "  ")
	if err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	partial := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(partial, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	return nil
}
