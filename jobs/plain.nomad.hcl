# A job without a service block: its host port is registered by the registrar as plain-servers-www.
job "plain" {
  datacenters = ["*"]

  group "servers" {
    network {
      port "www" {
        to = 8001
      }
    }

    update {
      min_healthy_time = "1s"
    }

    task "web" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "httpd"
        args    = ["-f", "-p", "${NOMAD_PORT_www}", "-h", "/local"]
        ports   = ["www"]
      }

      template {
        data        = "plain\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
