package main

import (
	"bytes"
	"net"
	"os/exec"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtsp "github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
	"github.com/rogpeppe/go-internal/testscript"
)

// rtspCamera is an RTSP server that plays to everybody what one publishes to it, as cameras do.
type rtspCamera struct {
	server *gortsplib.Server
	films  chan struct{} // closed once there is something to see

	mu     sync.Mutex
	stream *gortsplib.ServerStream
}

func (c *rtspCamera) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = gortsplib.NewServerStream(c.server, ctx.Description)
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (c *rtspCamera) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	stream, films := c.seen(), sync.OnceFunc(func() { close(c.films) })
	ctx.Session.OnPacketRTPAny(func(m *rtsp.Media, _ format.Format, p *rtp.Packet) {
		_ = stream.WritePacketRTP(m, p) // who does not keep up is dropped
		films()
	})
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (c *rtspCamera) seen() *gortsplib.ServerStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream
}

func (c *rtspCamera) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.seen(), nil
}

func (c *rtspCamera) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.seen(), nil
}

func (c *rtspCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// film starts an RTSP camera that ffmpeg feeds with a test picture in H.264, until the script ends: $RTSP is where.
func film(ts *testscript.TestScript, _ bool, _ []string) {
	c := &rtspCamera{films: make(chan struct{})}
	var at net.Addr
	c.server = &gortsplib.Server{
		Handler: c, RTSPAddress: "127.0.0.1:0",
		Listen: func(network, address string) (net.Listener, error) {
			l, err := net.Listen("tcp4", address)
			if err == nil {
				at = l.Addr()
			}
			return l, err
		},
	}
	ts.Check(c.server.Start())
	ts.Defer(func() { c.server.Close(); _ = c.server.Wait() })
	ts.Setenv("RTSP", at.String())
	ffmpeg := exec.Command("ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "1", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+at.String()+"/cam")
	var said bytes.Buffer
	ffmpeg.Stderr = &said
	ts.Check(ffmpeg.Start())
	ts.Defer(func() { // it would go on for ever
		_ = ffmpeg.Process.Kill()
		_ = ffmpeg.Wait()
		ts.Logf("[ffmpeg wrote]\n%s", &said)
	})
	select {
	case <-c.films:
	case <-time.After(enough):
		ts.Fatalf("ffmpeg sends nothing")
	}
}
