package model

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// chunk is what is read and hashed at a time: whole blocks of the tree's
// lowest level, so that each is one worker's.
const chunk = 8 * fanOut * BlockSize

// Progress is told how much of how much was read. It is called often, from one
// goroutine at a time, and must not wait.
type Progress func(done, total int64)

// sum hashes data of so many bytes on all processors. It holds a few chunks in
// memory, whatever size is. Nil fields are left out.
type sum struct {
	data     io.ReaderAt
	size     int64
	progress Progress
	// tap gets every chunk as it was hashed, concurrently and in any order.
	tap func(at int64, data []byte) error
	// digests gets the digests of the blocks from number on, in order.
	digests func(from int64, digests []byte) error
	// each gets the blocks of the tree.
	each func(level int, number int64, block []byte) error
}

// ErrSize means that the data is no archive of the network.
var ErrSize = fmt.Errorf("size is not a multiple of %d bytes: not a packed archive", BlockSize)

type job struct {
	at, len int64
	done    chan outcome // takes one without waiting
}

type outcome struct {
	digests []byte
	err     error
}

func (s *sum) run(ctx context.Context) (Hash, error) {
	if s.size <= 0 || s.size%BlockSize != 0 {
		return Hash{}, fmt.Errorf("%d bytes: %w", s.size, ErrSize)
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	workers := runtime.GOMAXPROCS(0)
	jobs, order := make(chan job, workers), make(chan job, 2*workers)
	wg.Go(func() { s.plan(ctx, jobs, order) })
	for range workers {
		wg.Go(func() { s.work(jobs) })
	}
	return s.collect(ctx, order)
}

func (s *sum) plan(ctx context.Context, jobs, order chan<- job) {
	defer close(jobs)
	defer close(order)
	for at := int64(0); at < s.size; at += chunk {
		j := job{at, min(chunk, s.size-at), make(chan outcome, 1)}
		for _, to := range []chan<- job{order, jobs} {
			select {
			case to <- j:
			case <-ctx.Done():
				j.done <- outcome{err: ctx.Err()}
				return
			}
		}
	}
}

func (s *sum) work(jobs <-chan job) {
	buf, h := make([]byte, min(chunk, s.size)), sha256.New()
	for j := range jobs {
		b := buf[:j.len]
		if n, err := s.data.ReadAt(b, j.at); n < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			j.done <- outcome{err: fmt.Errorf("read at byte %d: %w", j.at+int64(n), err)}
			continue
		}
		digests := make([]byte, 0, len(b)/BlockSize*sha256.Size)
		for i := 0; i < len(b); i += BlockSize {
			digests = blockDigest(h, digests, b[i:i+BlockSize])
		}
		var err error
		if s.tap != nil {
			err = s.tap(j.at, b)
		}
		j.done <- outcome{digests, err}
	}
}

// collect adds up what the workers found, in the order of the data.
func (s *sum) collect(ctx context.Context, order <-chan job) (Hash, error) {
	t := newTree(s.size/BlockSize, s.each)
	for j := range order {
		var o outcome
		select {
		case o = <-j.done:
		case <-ctx.Done():
			return Hash{}, ctx.Err()
		}
		if o.err != nil {
			return Hash{}, o.err
		}
		if s.digests != nil {
			if err := s.digests(j.at/BlockSize, o.digests); err != nil {
				return Hash{}, err
			}
		}
		if err := t.add(o.digests); err != nil {
			return Hash{}, err
		}
		if s.progress != nil {
			s.progress(j.at+j.len, s.size)
		}
	}
	if err := ctx.Err(); err != nil {
		return Hash{}, err
	}
	return t.finish()
}

// Sum is the root of the dm-verity tree over data of so many bytes, which must
// be a multiple of BlockSize. It reads from several goroutines at once. A nil
// progress is told nothing.
func Sum(ctx context.Context, data io.ReaderAt, size int64, progress Progress) (Hash, error) {
	return (&sum{data: data, size: size, progress: progress}).run(ctx)
}
