// Package openai holds what the OpenAI HTTP API looks like from outside: its
// error objects, its model list, its usage counts, the framing of its answers
// and the few request members that the network reads or keeps for itself.
//
// Start with [ParseOptions] for a request, [NewSplitter] for an answer and
// [Error] for everything that goes wrong. There is no server and no client in
// here; the roles bring those. Documents are edited by [Object], which moves
// bytes instead of decoding and encoding them again: what the network does not
// own reaches the engine exactly as the caller wrote it.
//
// Shapes follow the API's public reference
// (https://platform.openai.com/docs/api-reference); event streams follow the
// WHATWG HTML standard, section "Server-sent events".
package openai

// ModelList is the answer to GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // always "list"
	Data   []Model `json:"data"`
}

// Model is one entry of a [ModelList] and the answer to GET /v1/models/{id}.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`   // always "model"
	Created int64  `json:"created"`  // Unix seconds
	OwnedBy string `json:"owned_by"` // who serves it
	// Workers is the network's addition: one entry per worker that is ready
	// to serve the model, cheapest first. SDKs ignore it.
	Workers []ModelWorker `json:"workers"`
	// Market is the network's addition too: what a request would cost and how
	// long it would take, nil if no proxy tells.
	Market *ModelMarket `json:"market,omitempty"`
	// ContextLength in tokens, Capabilities and Regions are what workers say: the longest, what at least one
	// can do, and where they are. The network's addition as well; unknown is left out.
	ContextLength int      `json:"context_length,omitempty"`
	Capabilities  []string `json:"capabilities,omitempty"`
	Regions       []string `json:"regions,omitempty"`
}

// ModelMarket is a quote: what requests for a model were served for and how
// fast lately, at the cheapest proxy. Zero is unknown.
type ModelMarket struct {
	GoingRate       int32   `json:"going_rate"` // coefficient in thousandths
	PromptTON       float64 `json:"prompt_ton_per_million"`
	CompletionTON   float64 `json:"completion_ton_per_million"`
	FirstAnswer     float64 `json:"first_answer_seconds"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Wait            float64 `json:"wait_seconds"`
}

// ModelWorker is one worker of a model, as its proxy sees it.
type ModelWorker struct {
	Coefficient        int32 `json:"coefficient"` // price in thousandths of the network's
	RunningRequests    int32 `json:"running_requests"`
	MaxRunningRequests int32 `json:"max_running_requests"`
}

// NewModelList returns the list object around models; data is never null.
func NewModelList(models []Model) ModelList {
	if models == nil {
		models = []Model{}
	}
	return ModelList{Object: "list", Data: models}
}
