"""Gives schemathesis images to upload: from the document alone it would only ever send what is refused."""

import base64

import schemathesis
from hypothesis import strategies as st

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAACklEQVR4nGMAAQAABQABDQottAAAAABJRU5ErkJggg=="
)


def damaged(at: int, byte: int) -> bytes:
    return PNG[:at] + bytes([byte]) + PNG[at + 1 :]


images = st.one_of(
    st.just(PNG),
    st.builds(lambda more: PNG + more, st.binary(max_size=64)),
    st.builds(damaged, st.integers(0, len(PNG) - 1), st.integers(0, 255)),
    st.builds(lambda end: PNG[:end], st.integers(0, len(PNG))),
    st.binary(max_size=64),
)
schemathesis.openapi.format("binary", images)
schemathesis.openapi.format("image-as-base64", images.map(lambda image: base64.b64encode(image).decode()))

urls = st.one_of(
    images.map(lambda image: "data:image/png;base64," + base64.b64encode(image).decode()),
    st.sampled_from(["https://example.com/x.png", "http://localhost/uploads/x", "data:", "", "x"]),
    st.text(max_size=64),
)


def source_of(url: str) -> dict:
    _, comma, data = url.partition(";base64,")
    return {"type": "base64", "media_type": "image/png", "data": data} if comma else {"type": "url", "url": url}


def with_image(path: str, url: str) -> dict:
    """A request to show an image to a model, in the shape of each address."""
    if path == "/v1/responses":
        return {"input": [{"content": [{"type": "input_image", "image_url": url}]}]}
    if path == "/v1/messages":
        return {"messages": [{"content": [{"type": "image", "source": source_of(url)}]}]}
    return {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@schemathesis.hook
def flatmap_body(context, body):
    path = context.operation.path
    if path not in ("/v1/chat/completions", "/v1/responses", "/v1/messages") or not isinstance(body, dict):
        return st.just(body)
    return st.one_of(st.just(body), urls.map(lambda url: {**body, **with_image(path, url)}))
