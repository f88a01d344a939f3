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
