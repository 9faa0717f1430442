# A quiet neighbour: a hundred times a second it writes what time it is, in seconds since the machine's start. Whoever reads its
# log can tell how old it is: see `cargo lab bench hostile`.
job "witness" {
  datacenters = ["*"]

  group "witness" {
    update {
      min_healthy_time = "1s"
    }

    task "clock" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "sh"
        args    = ["-c", "while read now rest < /proc/uptime; do echo $now; usleep 10000; done"]
      }

      resources {
        cpu    = 100
        memory = 16
      }
    }
  }
}
