import { type Client, KEY, literal, type ServerFacts, textFile } from './client.ts'

/** Go 1.16 or newer, its standard library alone. */
export function go({ base }: ServerFacts): Client {
  return {
    id: 'go',
    name: 'Go',
    platforms: 'Windows, macOS, Linux',
    about: { en: 'With the standard library alone.', zh: '只用标准库。' },
    steps: [
      {
        en: '`go run layover.go photo.jpg`. LAYOVER_KEY in the environment counts more than the key in the file.',
        zh: '`go run layover.go photo.jpg`。环境变量 LAYOVER_KEY 优先于文件里的密钥。',
      },
    ],
    files: [textFile('layover.go', program(base))],
  }
}

function program(base: string): string {
  return `package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
)

const address = ${literal(`${base}/api/upload`)}

func main() {
	key := os.Getenv("LAYOVER_KEY")
	if key == "" {
		key = ${literal(KEY)}
	}
	for _, path := range os.Args[1:] {
		url, err := upload(path, key)
		if err != nil {
			fmt.Fprintln(os.Stderr, path+":", err)
			os.Exit(1)
		}
		fmt.Println(url)
	}
}

func upload(path, key string) (string, error) {
	image, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", filepath.Base(path))
	if err != nil {
		return "", err
	}
	part.Write(image) // Into memory, which does not fail.
	form.Close()

	request, err := http.NewRequest("POST", address, &body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", form.FormDataContentType())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()

	var answer struct {
		Success bool
		Message string
		Data    string
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", err
	}
	if !answer.Success {
		return "", errors.New(answer.Message)
	}
	return answer.Data, nil
}
`
}
