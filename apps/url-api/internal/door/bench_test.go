package door

import "testing"

// BenchmarkRedirect measures the handler alone, with a link that the process knows, and a click that is written.
func BenchmarkRedirect(b *testing.B) {
	for name, sampler := range map[string]float64{"not sampled": 0, "sampled": 1} {
		b.Run(name, func(b *testing.B) {
			d, rc := redirecting(b, sampler)
			b.ReportAllocs()
			for b.Loop() {
				d.serve(rc)
				if rc.Response.StatusCode() != 302 {
					b.Fatal(rc.Response.StatusCode())
				}
				rc.Response.Reset()
			}
		})
	}
}
