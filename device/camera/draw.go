package camera

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"time"
)

const (
	width, height = 640, 480
	dot           = 12 // pixels to a side of a glyph's dot
)

// glyphs are the characters of a date and time, three dots wide and five high,
// the rows from the top, the leftmost dot the highest bit.
var glyphs = map[rune][5]uint8{
	'0': {7, 5, 5, 5, 7}, '1': {2, 6, 2, 2, 7}, '2': {7, 1, 7, 4, 7}, '3': {7, 1, 7, 1, 7}, '4': {5, 5, 7, 1, 1},
	'5': {7, 4, 7, 1, 7}, '6': {7, 4, 7, 5, 7}, '7': {7, 1, 2, 2, 2}, '8': {7, 5, 7, 5, 7}, '9': {7, 5, 7, 1, 7},
	'-': {0, 0, 7, 0, 0}, ':': {0, 2, 0, 2, 0},
}

// drawTime draws a door in the light of the hour, with the date and time on it.
func drawTime(t time.Time) ([]byte, error) {
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	fill(picture, picture.Bounds(), daylight(t.Hour()))
	fill(picture, image.Rect(0, 340, width, height), color.RGBA{92, 84, 76, 255}) // the path
	fill(picture, image.Rect(250, 60, 390, 340), color.RGBA{40, 62, 52, 255})     // the door
	fill(picture, image.Rect(366, 196, 380, 210), color.RGBA{214, 178, 84, 255})  // its knob
	fill(picture, image.Rect(0, 352, width, height), color.RGBA{24, 24, 28, 255}) // behind the letters
	write(picture, 372, dot/2, t.Format("2006-01-02"))
	write(picture, 410, dot, t.Format("15:04:05"))
	var b bytes.Buffer
	err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: 80})
	return b.Bytes(), err
}

func fill(picture draw.Image, r image.Rectangle, c color.Color) {
	draw.Draw(picture, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// write puts text in the middle of the picture, its top at y, with dots of a size.
func write(picture draw.Image, y, size int, text string) {
	x := (width - (4*len(text)-1)*size) / 2
	for _, r := range text {
		for row, dots := range glyphs[r] {
			for column := range 3 {
				if dots&(4>>column) != 0 {
					at := image.Pt(x+column*size, y+row*size)
					fill(picture, image.Rectangle{at, at.Add(image.Pt(size, size))}, color.White)
				}
			}
		}
		x += 4 * size
	}
}

// daylight is the colour of the wall at an hour.
func daylight(hour int) color.Color {
	bright := uint8(60)
	switch {
	case hour >= 8 && hour < 18:
		bright = 210
	case hour >= 6 && hour < 21:
		bright = 140
	}
	return color.RGBA{bright, bright - bright/8, bright - bright/4, 255}
}
