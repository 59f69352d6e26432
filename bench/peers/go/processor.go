package main

import (
	"context"
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	namespace  = "extproc"
	forceTrace = "x-envoy-force-trace"
)

// processor answers Envoy.
type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	sampler    *sampler
	upstream   metric.Float64Histogram
	downstream metric.Float64Histogram
}

// bounds are OpenTelemetry's advice for seconds.
var bounds = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

func newProcessor(s *sampler, meter metric.Meter) (*processor, error) {
	upstream, err := meter.Float64Histogram("envoy_upstream_latency_seconds", metric.WithUnit("s"), bounds)
	if err != nil {
		return nil, err
	}
	downstream, err := meter.Float64Histogram("envoy_downstream_latency_seconds", metric.WithUnit("s"), bounds)
	if err != nil {
		return nil, err
	}
	return &processor{sampler: s, upstream: upstream, downstream: downstream}, nil
}

// exchange is one HTTP request.
type exchange struct {
	began    time.Time
	answered time.Time
	service  metric.MeasurementOption
}

// Process serves one HTTP request. Envoy ends the stream when the response has been sent.
func (p *processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	ctx := stream.Context()
	current := exchange{began: time.Now()}
	for {
		request, err := stream.Recv()
		if err != nil {
			p.end(&current)
			if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
				return nil
			}
			return err
		}
		response, err := p.answer(ctx, &current, request)
		if err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (p *processor) answer(ctx context.Context, current *exchange, request *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch message := request.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return p.requestHeaders(ctx, current, message.RequestHeaders, request.Attributes), nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		p.upstream.Record(ctx, time.Since(current.answered).Seconds(), current.service)
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
		}, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}},
		}, nil
	default:
		return nil, status.Errorf(codes.InvalidArgument, "unexpected message %T", message)
	}
}

func (p *processor) requestHeaders(
	ctx context.Context, current *exchange, request *extprocv3.HttpHeaders, attributes map[string]*structpb.Struct,
) *extprocv3.ProcessingResponse {
	path, user, parent := "", "unknown", false
	for _, header := range request.GetHeaders().GetHeaders() {
		switch header.GetKey() {
		case ":path":
			path = string(header.GetRawValue())
		case "x-user-id":
			user = string(header.GetRawValue())
		case "traceparent":
			parent = true
		}
	}
	decided := p.sampler.decide(path, traceparent(ctx), parent)

	service := attributes["envoy.filters.http.ext_proc"].GetFields()["xds.cluster_name"].GetStringValue()
	current.service = metric.WithAttributeSet(attribute.NewSet(attribute.String("service", service)))
	current.answered = time.Now()
	return &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extprocv3.HeadersResponse{Response: change(decided.keep && !parent)},
		},
		DynamicMetadata: tags(user, decided),
	}
}

// end records the whole of a request that had an answer.
func (p *processor) end(current *exchange) {
	if current.service != nil {
		p.downstream.Record(context.Background(), time.Since(current.began).Seconds(), current.service)
	}
}

// change makes Envoy decide about the trace again, and keep it.
func change(keep bool) *extprocv3.CommonResponse {
	if !keep {
		return nil
	}
	return &extprocv3.CommonResponse{
		ClearRouteCache: true,
		HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: forceTrace, RawValue: []byte("true")},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}},
	}
}

func tags(user string, decided decision) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		namespace: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"user_id":              structpb.NewStringValue(user),
			"mesh":                 structpb.NewStringValue("envoy"),
			"sampling.policy":      structpb.NewStringValue(decided.policy.name),
			"sampling.reason":      structpb.NewStringValue(decided.reason),
			"sampling.probability": structpb.NewNumberValue(decided.policy.ratio),
		}}),
	}}
}

// traceparent is what Envoy sends of its own span as gRPC metadata.
func traceparent(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(values) > 0 {
		return values[0]
	}
	return ""
}
