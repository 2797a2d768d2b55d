package demo

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
)

// drawPicture writes what the doorbell sees: a door in the evening, grainy as such cameras are, so that no two pieces
// of the file are alike.
func drawPicture(file string) ([]byte, error) {
	const width, height = 480, 360
	rnd := rand.New(rand.NewPCG(seed, 1))
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{52, 60, 88, 255} // the wall
			switch {
			case y > 300:
				c = color.RGBA{70, 66, 60, 255} // the path
			case x > 190 && x < 290 && y > 70:
				c = color.RGBA{120, 52, 40, 255} // the door
			}
			grain := uint8(rnd.IntN(48))
			picture.SetRGBA(x, y, color.RGBA{c.R + grain, c.G + grain, c.B + grain, 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: 70}); err != nil {
		return nil, err
	}
	return b.Bytes(), os.WriteFile(file, b.Bytes(), 0o600)
}

// samePicture checks that a file holds a JPEG, and exactly the one expected.
func samePicture(file string, want []byte) (string, error) {
	got, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	picture, err := jpeg.Decode(bytes.NewReader(got))
	if err != nil {
		return "", fmt.Errorf("what came is no JPEG: %w", err)
	}
	if !bytes.Equal(got, want) {
		return "", fmt.Errorf("the picture is another: %d bytes, not the %d in the doorbell's folder", len(got), len(want))
	}
	size := picture.Bounds().Size()
	return fmt.Sprintf("a JPEG of %d×%d, %d bytes, each as in the doorbell's folder", size.X, size.Y, len(got)), nil
}
