package server

import (
	"context"
	"os/exec"
	"time"
)

// dockerAnswers tells whether containers can be run.
func dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info", "--format", "{{.ServerVersion}}").Run() == nil
}

// docker returns a command which runs a container in the foreground, so that it lives and ends like any other server.
// publish are its ports as HOST:PORT:PORT.
func docker(image string, publish, options []string, args ...string) *exec.Cmd {
	run := []string{"run", "--rm", "--init"}
	for _, p := range publish {
		run = append(run, "-p", p)
	}
	run = append(run, options...)
	run = append(run, image)
	return exec.Command("docker", append(run, args...)...)
}

// pull fetches the server's image, unless it is there.
func (s *setup) pull(ctx context.Context, d definition) error {
	if exec.CommandContext(ctx, "docker", "image", "inspect", d.image).Run() == nil {
		return nil
	}
	defer s.progress("pulling " + d.image)()
	_, err := s.output(exec.CommandContext(ctx, "docker", "pull", d.image))
	return err
}
