package builtin

import (
	"context"
)

// job is one answer to make.
type job struct {
	prompt    []int32 // one token or more, shorter than the model's context
	begun     []int32 // the end of prompt, which is an answer to go on with
	maxTokens int     // 1 or more; the context bounds it too
	sampling  sampling
	stops     []string
	logprobs  bool
	top       int // likeliest tokens to report with each
}

// Reasons for the end of an answer.
const (
	finishStop   = "stop"
	finishLength = "length"
)

// rut ends an answer that would say the same token so often in a row. Greedy
// decoding does not find out of such a loop, and nobody wants to pay for it.
const rut = 16

// tokenScore is a token of the answer with its probability and its rivals'.
type tokenScore struct {
	scored
	top []scored
}

// prefill computes the prompt and returns a copy of the logits behind it. It
// gives up between batches when ctx ends.
func (s *sequence) prefill(ctx context.Context, prompt []int32) ([]float32, error) {
	s.rewind(0)
	var logits []float32
	for len(prompt) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(batch, len(prompt))
		logits = s.extend(prompt[:n])
		prompt = prompt[n:]
	}
	return append([]float32(nil), logits...), nil
}

// answer generates one choice behind a prompt whose logits prefill returned,
// and hands its pieces to emit as soon as they are certain. Several choices
// can follow one prefill. It returns the number of generated tokens, the one
// that ended the answer included, even when ctx or emit ends it with an error.
func (s *sequence) answer(ctx context.Context, j *job, choice int, logits []float32, emit func(piece) error) (n int, finish string, err error) {
	s.rewind(len(j.prompt))
	out, sampler := newPending(j.stops), newSampler(j.sampling, choice)
	copy(s.room.logits, logits)
	last, said := int32(-1), 0
	for _, token := range j.begun {
		sampler.again(token)
		if said++; token != last {
			last, said = token, 1
		}
	}
	for finish == "" {
		if err := ctx.Err(); err != nil {
			return n, "", err
		}
		token, scores := j.next(sampler, s.room.logits)
		n++
		if said++; token != last {
			last, said = token, 1
		}
		ended := s.m.tokens.ended(token) || said == rut
		if ended || out.add(s.m.tokens.bytes[token], scores) {
			finish = finishStop
		} else if n >= j.maxTokens || s.length+1 >= s.m.context {
			finish = finishLength
		}
		show := out.ready
		if finish != "" {
			show = out.flush
		}
		if p := show(); p.text != "" || len(p.tokens) > 0 {
			if err := emit(p); err != nil {
				return n, "", err
			}
		}
		if finish == "" {
			s.extend([]int32{token})
		}
	}
	return n, finish, nil
}

// next picks a token. Probabilities are those of the model, before the
// request's wishes change them.
func (j *job) next(s *sampler, logits []float32) (int32, tokenScore) {
	if !j.logprobs {
		return s.pick(logits), tokenScore{}
	}
	plain := append([]float32(nil), logits...)
	token := s.pick(logits)
	var t tokenScore
	t.scored, t.top = score(plain, token, j.top)
	return token, t
}
