package worker

import "github.com/opencocoon/cocoon/ledger"

// used is what the answer costs so far, in the model's tokens.
func (m *meter) used() ledger.Usage {
	switch {
	case m.free || !m.told && m.text == 0 && !m.done:
		return ledger.Usage{}
	case !m.told:
		return m.bounded(ledger.Usage{Prompt: m.estimatePrompt(), Completion: m.estimateText()})
	}
	u := m.seen
	if u.Completion == 0 && m.text > 0 && m.done {
		m.odd |= oddZero
		u.Completion = m.estimateText()
	}
	if !m.done { // a report from before the answer broke off lags behind
		u.Completion = max(u.Completion, m.deltas)
	}
	return m.bounded(u)
}

func (m *meter) bounded(u ledger.Usage) ledger.Usage {
	if most := int64(len(m.request.payload)) + promptSlack; u.Prompt > most {
		m.odd |= oddPrompt
		u.Prompt = most
	}
	if u.Completion > m.request.limit && m.request.limit > 0 {
		m.odd |= oddLimit
		// Engines know more spellings and names of the limit than we, and a
		// caller may use one: text far beyond the limit is no lie of the engine.
		u.Completion = min(u.Completion, max(m.request.limit, m.heard/longToken))
	}
	u.Cached, u.Reasoning = min(u.Cached, u.Prompt), min(u.Reasoning, u.Completion)
	if u.Completion-u.Reasoning > m.text+textSlack {
		m.odd |= oddText
		u.Completion = min(u.Completion, m.text+maxUnseen)
	}
	return u
}

// estimated says whether used is a guess.
func (m *meter) estimated() bool {
	return !m.free && (!m.told && (m.text > 0 || m.done) || m.odd&oddZero != 0)
}

func (m *meter) estimatePrompt() int64 {
	if m.prompt == 0 {
		m.prompt = m.request.estimatePrompt()
	}
	return m.prompt
}

// estimateText takes one token for each piece that carried text, or the usual
// length of a token, whichever gives more.
func (m *meter) estimateText() int64 { return max(m.deltas, tokensOf(m.text)) }

// estimate is a usage object of what is known without the engine's help.
func (m *meter) estimate() []byte {
	u := m.used()
	return m.price.costs(m.price.adjust(u)).appendEstimate(nil, u)
}
