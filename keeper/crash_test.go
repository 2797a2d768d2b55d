package keeper

const crashDir = "KINDRED_KEEPER_CRASH_DIR"

func workUntilKilled(dir string) int { return 1 }
