"""A real server of objects for tests: moto's, which speaks S3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "weighbridge"


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a bucket; the environment has what a client needs, and gives it to processes that are started."""
    for package, extra in (("s3fs", "s3"), ("moto", "dev"), ("flask_cors", "dev")):
        pytest.importorskip(package, reason=f"pip install 'weighbridge[{extra}]'")
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
            patch.setenv(f"AWS_{name}", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        # fsspec hands the same client out again to whoever asks for the same address, whatever the environment says since.
        s3fs.S3FileSystem.clear_instance_cache()
        yield f"s3://{BUCKET}"
    server.stop()
