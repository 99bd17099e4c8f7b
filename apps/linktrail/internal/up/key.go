package up

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/linktrail/linktrail/internal/apikey"
)

// keyName is the local key's name.
const keyName = "local"

// localKey returns the token in the file, registered in the store, with all scopes. It makes one where there is none, or
// where that one was revoked.
func localKey(ctx context.Context, keys apikey.Store, file string) (string, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return newLocalKey(ctx, keys, file)
	}
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	key, err := apikey.FromToken(token, keyName, apikey.Scopes(), time.Now())
	if err != nil {
		return "", fmt.Errorf("%s holds no API key: %w; remove the file to have a new one made", shownPath(file), err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return "", err
	}
	if err := keys.CreateKey(ctx, key); err != nil {
		return "", fmt.Errorf("register the key in %s: %w", shownPath(file), err)
	}
	kept, err := keys.KeyByID(ctx, key.ID)
	if err != nil {
		return "", err
	}
	if !kept.RevokedAt.IsZero() {
		return newLocalKey(ctx, keys, file)
	}
	return token, nil
}

// newLocalKey writes the file first: a key in the store that nobody knows the token of would only lie about.
func newLocalKey(ctx context.Context, keys apikey.Store, file string) (string, error) {
	key, token, err := apikey.New(keyName, apikey.Scopes(), time.Now())
	if err != nil {
		return "", err
	}
	if err := writeFile(file, []byte(token+"\n")); err != nil {
		return "", err
	}
	return token, keys.CreateKey(ctx, key)
}
