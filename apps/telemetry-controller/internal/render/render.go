// Package render turns what a Telemetry object wants into the files of a workload's overlay folder, which the services
// follow (internal/telemetry).
package render

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Input is what an overlay is made of.
type Input struct {
	Exporter v1alpha1.Exporter
	// Endpoint is where spans go: the exporter's own, or what its serviceRef was resolved to.
	Endpoint string
	Ratio    v1alpha1.Ratio
	// CA is what caFrom refers to, Headers what headersFrom does; nil without.
	CA      []byte
	Headers map[string][]byte
}

// Overlay is the content of an overlay folder.
type Overlay struct {
	// ConfigMap is telemetry.yaml and, where it names one, the file of authorities.
	ConfigMap map[string]string
	// Secret is headers.yaml; nil without headers.
	Secret map[string][]byte
	// Hash is what a service reports once all that is in force.
	Hash string
}

// block is go-zero's Telemetry block, and the keys that linktrail adds to it. All are written, so that nothing of a service's
// own block is left: a credential there is not for the collector that an object names, and one that was Disabled there would
// export nothing. But with TLS the certificates stay the service's own, save authorities that caFrom names.
type block struct {
	Batcher        v1alpha1.Protocol `json:"Batcher"`
	Endpoint       string            `json:"Endpoint"`
	Sampler        json.Number       `json:"Sampler"`
	OtlpHeaders    map[string]string `json:"OtlpHeaders"` // none; those of headers.yaml win
	Disabled       bool              `json:"Disabled"`
	OtlpHTTPPath   string            `json:"OtlpHttpPath"`
	OtlpHTTPSecure bool              `json:"OtlpHttpSecure"`
	OtlpGRPCSecure bool              `json:"OtlpGrpcSecure"`
	OtlpCAFile     *string           `json:"OtlpCaFile,omitempty"`
	OtlpCertFile   *string           `json:"OtlpCertFile,omitempty"`
	OtlpKeyFile    *string           `json:"OtlpKeyFile,omitempty"`
}

// Render returns the overlay. An error names the key that a service would refuse, its value and what is allowed, and never
// the value of a header.
func Render(in Input) (Overlay, error) {
	b := block{
		Batcher: in.Exporter.Protocol, Endpoint: in.Endpoint, Sampler: json.Number(in.Ratio),
		OtlpHeaders: map[string]string{}, OtlpHTTPPath: in.Exporter.HTTPPath,
	}
	if !in.Exporter.Secure {
		b.OtlpCAFile, b.OtlpCertFile, b.OtlpKeyFile = new(string), new(string), new(string)
	}
	switch in.Exporter.Protocol {
	case v1alpha1.ProtocolOTLPGRPC:
		b.OtlpGRPCSecure = in.Exporter.Secure
	case v1alpha1.ProtocolOTLPHTTP:
		b.OtlpHTTPSecure = in.Exporter.Secure
	}
	headers, err := headersYAML(in.Headers)
	if err != nil {
		return Overlay{}, err
	}
	config, err := b.yaml()
	if err != nil {
		return Overlay{}, err
	}
	if _, err := telemetry.Default().Overlaid("", config, headers); err != nil {
		return Overlay{}, fmt.Errorf("a service would refuse it: %w", err)
	}
	overlay := Overlay{ConfigMap: make(map[string]string)}
	if in.CA != nil {
		if !x509.NewCertPool().AppendCertsFromPEM(in.CA) {
			return Overlay{}, errors.New("what caFrom refers to holds no certificate in PEM")
		}
		// Its name tells its content, so that other authorities are another overlay.
		sum := sha256.Sum256(in.CA)
		file := "ca-" + hex.EncodeToString(sum[:8]) + ".crt"
		b.OtlpCAFile = &file
		overlay.ConfigMap[file] = string(in.CA)
		if config, err = b.yaml(); err != nil {
			return Overlay{}, err
		}
	}
	overlay.ConfigMap[telemetry.OverlayFile] = string(config)
	if headers != nil {
		overlay.Secret = map[string][]byte{telemetry.HeadersFile: headers}
	}
	overlay.Hash = telemetry.OverlayHash(config, headers)
	return overlay, nil
}

// Applied returns the overlay that a ConfigMap and a Secret hold.
func Applied(config map[string]string, secret map[string][]byte) Overlay {
	o := Overlay{ConfigMap: config, Secret: secret}
	o.Hash = telemetry.OverlayHash([]byte(config[telemetry.OverlayFile]), secret[telemetry.HeadersFile])
	return o
}

// WithRatio returns the overlay with another ratio. An error says that it is none of Render's.
func (o Overlay) WithRatio(ratio v1alpha1.Ratio) (Overlay, error) {
	var file struct{ Telemetry block }
	if err := yaml.UnmarshalStrict([]byte(o.ConfigMap[telemetry.OverlayFile]), &file); err != nil {
		return Overlay{}, err
	}
	file.Telemetry.Sampler = json.Number(ratio)
	text, err := file.Telemetry.yaml()
	if err != nil {
		return Overlay{}, err
	}
	config := maps.Clone(o.ConfigMap)
	config[telemetry.OverlayFile] = string(text)
	return Applied(config, o.Secret), nil
}

func (b block) yaml() ([]byte, error) { return yaml.Marshal(map[string]any{"Telemetry": b}) }

// headersYAML returns the file of headers; nil where there are none.
func headersYAML(headers map[string][]byte) ([]byte, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	list := make(map[string]string, len(headers))
	for name, value := range headers {
		if !utf8.Valid(value) {
			return nil, fmt.Errorf("header %q has a value that is no UTF-8", name)
		}
		list[name] = string(value)
	}
	return yaml.Marshal(map[string]any{"Telemetry": map[string]any{"OtlpHeaders": list}})
}
