package node

import (
	"context"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/model"
)

// progressEvery is how often a long reading of files is logged.
const progressEvery = 15 * time.Second

func (s *Worker) checkWeights(p *Problems) {
	switch _, err := model.Parse(s.Model); {
	case s.ModelFile == "" && s.ModelDir == "":
	case s.ModelFile != "" && s.ModelDir != "":
		p.Add("model_file and model_dir exclude each other")
	case err != nil:
		p.Add("%v: the files in model_file or model_dir are checked against its hash", err)
	}
}

// verifyWeights reads the model's files and refuses to go on if they are not
// what the worker is about to announce. Nothing is said about what the engine
// has loaded: the guest's own measurement covers the program that starts it.
func (s *Worker) verifyWeights(ctx context.Context, env Env) error {
	name := s.ModelFile + s.ModelDir // one is empty
	if name == "" {
		return nil
	}
	id, err := model.Parse(s.Model)
	if err != nil {
		return err
	}
	source, err := model.OpenSource(name, "")
	if err != nil {
		return fmt.Errorf("model %s: %w", id, err)
	}
	defer source.Close()
	log, begun := env.log(), time.Now()
	told := begun
	err = model.Check(ctx, source, id.Hash, func(done, total int64) {
		if now := time.Now(); now.Sub(told) >= progressEvery {
			told = now
			log.Info("verifying the model's files", "read_mb", done/1e6, "of_mb", total/1e6)
		}
	})
	if err != nil {
		return fmt.Errorf("model %s: %s: %w; it is not served", id, name, err)
	}
	log.Info("model's files verified", "model", id, "files", name, "mb", source.Size/1e6, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}
