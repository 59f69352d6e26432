// Command peer is an ext_proc server that does what extproc does for the benchmark's policy file, as one would write
// it in Go for this one purpose: paths by prefix, a ratio, two tags, two histograms.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"syscall"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:50051", "where Envoy calls")
	services := flag.Int("services", 50, "a policy for each of so many path prefixes")
	ratio := flag.Float64("ratio", 0.1, "of traces that are kept")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *listen, *services, *ratio); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen string, services int, ratio float64) (err error) {
	exporter, err := otlpmetricgrpc.New(ctx)
	if err != nil {
		return fmt.Errorf("metrics exporter: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	defer func() { err = errors.Join(err, provider.Shutdown(context.Background())) }()
	otel.SetMeterProvider(provider)

	processor, err := newProcessor(newSampler(services, ratio), otel.Meter("peer"))
	if err != nil {
		return fmt.Errorf("instruments: %w", err)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(server, processor)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	return server.Serve(listener)
}
