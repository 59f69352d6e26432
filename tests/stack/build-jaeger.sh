#!/bin/sh
# Builds a real Jaeger from its Go module into the cache, unless it is there, and prints where it is.
#
# Needs Go 1.24 or newer and the module proxy; 3 to 6 minutes on two cores, and 90 MB in
# $EXTPROC_STACK_CACHE (~/.cache/extproc-stack). Without the UI, whose files are no part of the module.
set -eu

# Jaeger 2 is no Go module of its own: its sources carry both numbers, 1.76.0 is 2.13.0.
version=2.13.0
module=github.com/jaegertracing/jaeger@v1.76.0

cache=${EXTPROC_STACK_CACHE:-$HOME/.cache/extproc-stack}
jaeger=$cache/jaeger-$version

if [ ! -x "$jaeger" ]; then
  mkdir -p "$cache"
  # In a folder with no go.mod, and built in the module's own one: its go.mod has a replace, which `go install` refuses.
  sources=$(cd "$cache" && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  CGO_ENABLED=0 go build -C "$sources" -trimpath -buildvcs=false -o "$jaeger.$$" \
    -ldflags "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=v$version" ./cmd/jaeger
  mv "$jaeger.$$" "$jaeger" # at once, so that a build that was broken off is not taken for a whole one
fi
echo "$jaeger"
