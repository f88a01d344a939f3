"""The documented flows with OpenAI's own client, of which the environment has the base URL and the key; prints what the model said, a line each."""

import base64
import os
import sys

import requests
from openai import OpenAI

server, photo, remote = sys.argv[1:]
client = OpenAI(max_retries=0)


def ask(url, stream):
    answer = client.chat.completions.create(
        model="stub",
        stream=stream,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": url}},
                ],
            }
        ],
    )
    if not stream:
        return answer.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def uploaded():
    with open(photo, "rb") as file:
        answer = requests.post(
            f"{server}/api/upload",
            headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
            files={"file": file},
        )
    return answer.json()["data"]


def inlined():
    with open(photo, "rb") as file:
        return "data:image/jpeg;base64," + base64.b64encode(file.read()).decode()


for url in (uploaded(), inlined(), remote):
    for stream in (False, True):
        print(ask(url, stream))

response = client.responses.create(
    model="stub",
    input=[{"role": "user", "content": [{"type": "input_image", "image_url": uploaded()}]}],
)
print(response.output_text)
print([model.id for model in client.models.list()])
