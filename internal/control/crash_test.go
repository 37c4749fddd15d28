package control

// crashDirEnv makes the test binary a child that is killed; see TestKill9.
const crashDirEnv = "HEARTH_TEST_CRASH_DIR"

func crashChild(string) {}
