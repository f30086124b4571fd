package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/tl"
)

// answer is any message of a worker about a request, of either family.
type answer struct {
	first  bool // carries an http.response
	failed bool
	final  bool
	body   []byte
	code   int32
	text   string
	info   tl.ProxyQueryFinalInfo // of a final or failed one
}

const (
	idPartEx      = 0x6d85b50f // proxy.queryAnswerPartEx
	idClientPart  = 0xc07bfaec // client.queryAnswerPartEx
	requestIDFrom = 4
	requestIDTo   = 36
)

// answer takes a message that is about a request. Each belongs to one the
// worker was given and has not ended; any other is late and ignored.
func (w *worker) answer(id uint32, data []byte) {
	if id == idPartEx && len(data) >= requestIDTo {
		if r := w.requests.find(tl.Int256(data[requestIDFrom:requestIDTo])); r != nil && isPlainPart(data) {
			r.relay(w, data)
			return
		}
	}
	request, a, err := readAnswer(id, data)
	if errors.Is(err, errNotAnswer) {
		return
	}
	r := w.requests.find(request)
	if r == nil {
		if err != nil {
			w.malformed(err)
		}
		return
	}
	if err != nil {
		w.malformed(err)
		r.workerBroke(w)
		return
	}
	r.answer(w, a)
}

// isPlainPart says whether the bytes are a part that is not the last one, the
// bulk of all traffic. It needs no decoding, since the client's form differs
// in constructor and request id only.
//
//	id | request_id:32 | answer:bytes | flags (bit 0 clear)
func isPlainPart(b []byte) bool {
	r := tl.NewReader(b[requestIDTo:])
	r.Bytes("answer")
	flags := r.Flags("flags")
	return r.Err() == nil && r.Len() == 0 && flags&1 == 0
}

// asClientPart turns a plain part into the client's, in place.
func asClientPart(b []byte, id tl.Int256) {
	binary.LittleEndian.PutUint32(b, idClientPart)
	copy(b[requestIDFrom:], id[:])
	clear(b[len(b)-4:])
}

var errNotAnswer = errors.New("not an answer")

// readAnswer decodes a message of either family. With an error the request id
// is as good as can be told, to fail that request alone.
func readAnswer(id uint32, data []byte) (request tl.Int256, a answer, err error) {
	o, ok := newAnswer(id)
	if !ok {
		return request, a, errNotAnswer
	}
	if err := tl.Unmarshal(data, o); err != nil {
		if _, legacy := legacyAnswers[id]; !legacy && len(data) >= requestIDTo {
			request = tl.Int256(data[requestIDFrom:requestIDTo])
		}
		return request, a, err
	}
	switch o := o.(type) {
	case *tl.ProxyQueryAnswerEx:
		request, a = o.RequestID, answer{first: true, final: o.Flags&1 != 0, body: o.Answer, info: o.FinalInfo}
	case *tl.ProxyQueryAnswerPartEx:
		request, a = o.RequestID, answer{final: o.Flags&1 != 0, body: o.Answer, info: o.FinalInfo}
	case *tl.ProxyQueryAnswerErrorEx:
		request, a = o.RequestID, answer{failed: true, final: true, code: o.ErrorCode, text: o.Error, info: o.FinalInfo}
	case *tl.ProxyQueryAnswer:
		request, a = o.RequestID, answer{first: true, final: o.IsCompleted, body: o.Answer, info: tl.ProxyQueryFinalInfo{TokensUsed: o.TokensUsed}}
	case *tl.ProxyQueryAnswerPart:
		request, a = o.RequestID, answer{final: o.IsCompleted, body: o.Answer, info: tl.ProxyQueryFinalInfo{TokensUsed: o.TokensUsed}}
	case *tl.ProxyQueryAnswerError:
		request, a = o.RequestID, answer{failed: true, final: true, code: o.ErrorCode, text: o.Error, info: tl.ProxyQueryFinalInfo{TokensUsed: o.TokensUsed}}
	case *tl.ProxyQueryAnswerPartError:
		request, a = o.RequestID, answer{failed: true, final: true, code: o.ErrorCode, text: o.Error, info: tl.ProxyQueryFinalInfo{TokensUsed: o.TokensUsed}}
	}
	if a.final {
		err = checkTokens(&a.info.TokensUsed)
	}
	return request, a, err
}

// legacyAnswers have their request id behind the answer.
var legacyAnswers = map[uint32]func() tl.Object{
	0x37e5f725: func() tl.Object { return new(tl.ProxyQueryAnswer) },
	0x72eb00ee: func() tl.Object { return new(tl.ProxyQueryAnswerPart) },
	0x669d014e: func() tl.Object { return new(tl.ProxyQueryAnswerError) },
	0x940e1168: func() tl.Object { return new(tl.ProxyQueryAnswerPartError) },
}

func newAnswer(id uint32) (tl.Object, bool) {
	switch id {
	case idPartEx:
		return new(tl.ProxyQueryAnswerPartEx), true
	case 0x1ce574e8:
		return new(tl.ProxyQueryAnswerEx), true
	case 0x8f7fb0a7:
		return new(tl.ProxyQueryAnswerErrorEx), true
	}
	if make, ok := legacyAnswers[id]; ok {
		return make(), true
	}
	return nil, false
}

// checkTokens refuses a report that could not be booked.
func checkTokens(t *tl.TokensUsed) error {
	if t.PromptTokensUsed < 0 || t.CachedTokensUsed < 0 || t.CompletionTokensUsed < 0 || t.ReasoningTokensUsed < 0 || t.TotalTokensUsed < 0 {
		return fmt.Errorf("negative token count")
	}
	return nil
}
