# Two images from one build: `docker build .` is extproc, `docker build --target examples .` the sample services.
# Both run as nobody in particular, on a read-only root file system. The tag names no patch release of Python: a new
# build takes its fixes.
FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY extproc extproc
COPY deploy/image/build.sh deploy/image/build.sh
RUN --mount=type=cache,target=/root/.cache/pip sh deploy/image/build.sh /opt/extproc

FROM python:3.13-slim-trixie AS runtime
ENV PATH=/opt/extproc/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/extproc /opt/extproc
COPY deploy/image/healthy.py /opt/healthy.py
WORKDIR /opt
USER 10001:10001

FROM runtime AS examples
COPY examples examples
ENV HOST=0.0.0.0
CMD ["python", "examples/http_service.py"]

FROM runtime AS extproc
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "/opt/healthy.py", "http://127.0.0.1:9464/ready"]
ENTRYPOINT ["extproc"]
CMD ["serve", "--policy", "/etc/extproc/policy.yaml", "--listen", "0.0.0.0:50051", "--admin", "0.0.0.0:9464"]
