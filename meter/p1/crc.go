package p1

// crc16 gives CRC-16/ARC, as P1 uses it. A telegram comes once a second, so
// eight steps a byte are quick enough to need no table.
func crc16(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
